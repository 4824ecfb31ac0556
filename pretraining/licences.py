"""Which licences allow training, and which licence a package or one of its files has."""

import re
from email.parser import HeaderParser
from fnmatch import fnmatchcase

PERMISSIVE = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD"}
CLASSIFIERS = {"MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause"}
CLASSIFIERS["ISC License (ISCL)"] = "ISC"
# Free-text licence fields as they occur, lower case.
SPELLINGS = {"apache 2.0 license": "Apache-2.0", "apache": "Apache-2.0", "apache 2.0": "Apache-2.0"}
SPELLINGS |= {"apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0", "apache-2": "Apache-2.0"}
SPELLINGS |= {"apache license version 2.0": "Apache-2.0", "bsd": "BSD-3-Clause", "mit license": "MIT", "expat": "MIT"}
SPELLINGS |= {"the mit license": "MIT", "bsd license": "BSD-3-Clause", "bsd-3": "BSD-3-Clause", "bsd-2": "BSD-2-Clause"}
SPELLINGS |= {"3-clause bsd license": "BSD-3-Clause", "new bsd license": "BSD-3-Clause"}
SPELLINGS |= {name.lower(): name for name in PERMISSIVE}


def permissive(licence: str) -> bool:
    """Whether an SPDX-like expression allows use under permissive licences alone: every AND part, any OR part."""
    expression = licence.replace("(", " ").replace(")", " ").replace(",", " ").strip()
    if not expression or re.search(r"\bwith\b", expression, re.IGNORECASE):
        return False
    options = re.split(r"\s+or\s+", expression, flags=re.IGNORECASE)
    return any(
        all(SPELLINGS.get(part.strip().lower()) for part in re.split(r"\s+and\s+", option, flags=re.IGNORECASE))
        for option in options
    )


def npm_licence(manifest: dict) -> str:
    """Of a parsed package.json, old spellings of the field included; empty when it states none."""
    stated = manifest.get("license") or manifest.get("licenses") or ""
    if isinstance(stated, list):
        stated = stated[0] if stated else ""
    if isinstance(stated, dict):
        stated = stated.get("type") or ""
    return stated if isinstance(stated, str) else ""


def python_licence(metadata: str) -> str:
    """Of a distribution's METADATA text."""
    fields = HeaderParser().parsestr(metadata)
    if fields.get("License-Expression"):
        return fields["License-Expression"].strip()
    for classifier in fields.get_all("Classifier") or []:
        found = classifier.rsplit(" :: ", 1)[-1].strip()
        if classifier.startswith("License ::") and found in CLASSIFIERS:
            return CLASSIFIERS[found]
    stated = (fields.get("License") or "").strip()
    return SPELLINGS.get(stated.lower(), "")


class DebianCopyright:
    """A machine-readable debian/copyright: the licence of each file, by its last stanza that matches."""

    def __init__(self, text: str):
        self.stanzas: list[tuple[list[str], str]] = []
        for paragraph in re.split(r"\n\s*\n", text):
            fields = HeaderParser().parsestr(paragraph.strip() + "\n")
            if fields.get("Files") and fields.get("License"):
                licence = fields["License"].strip().split("\n")[0].strip()
                self.stanzas.append((fields["Files"].split(), licence))

    @property
    def main(self) -> str:
        """The licence of most of the package; empty when the file is not machine-readable."""
        return next((licence for globs, licence in self.stanzas if "*" in globs), "")

    def licence_of(self, path: str) -> str:
        found = ""
        for globs, licence in self.stanzas:
            if any(fnmatchcase(path, glob) for glob in globs):
                found = licence
        return found
