"""Which licences allow training."""

import pytest

from licences import DebianCopyright, npm_licence, permissive, python_licence


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("ISC", True),
        ("0BSD", True),
        ("Expat", True),
        ("(MIT OR GPL-3.0-only)", True),
        ("Apache-2.0 or Expat", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND MPL-2.0", False),
        ("MPL-2.0", False),
        ("GPL-2+", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("UNLICENSED", False),
        ("", False),
    ],
)
def test_permissive(licence: str, allowed: bool) -> None:
    assert permissive(licence) is allowed


def test_npm_licence_in_all_spellings() -> None:
    assert npm_licence({"license": "MIT"}) == "MIT"
    assert npm_licence({"license": {"type": "ISC", "url": "x"}}) == "ISC"
    assert npm_licence({"licenses": [{"type": "MIT"}]}) == "MIT"
    assert npm_licence({"licenses": []}) == npm_licence({}) == ""


def test_python_licence_prefers_the_expression_then_the_classifier() -> None:
    both = "Name: a\nLicense-Expression: BSD-3-Clause\nClassifier: License :: OSI Approved :: MIT License\n"
    assert python_licence(both) == "BSD-3-Clause"
    assert python_licence("Name: a\nClassifier: License :: OSI Approved :: MIT License\nLicense: x\n") == "MIT"
    assert python_licence("Name: a\nLicense: Apache License 2.0\n") == "Apache-2.0"
    assert python_licence("Name: a\nLicense: a long text of its own\n") == ""


def test_debian_copyright_last_stanza_wins() -> None:
    found = DebianCopyright(
        "Format: x\n\nFiles: *\nCopyright: a\nLicense: Expat\n\nFiles: lib/* tools/b.c\nCopyright: b\nLicense: GPL-2+\n"
        " words\n\nFiles: lib/own.c\nCopyright: a\nLicense: Expat\n\nLicense: Expat\n Permission is granted\n"
    )
    assert found.main == "Expat"
    assert [found.licence_of(path) for path in ("src/a.c", "lib/x/y.c", "tools/b.c", "lib/own.c")] == [
        "Expat",
        "GPL-2+",
        "GPL-2+",
        "Expat",
    ]


def test_debian_copyright_in_free_text_says_nothing() -> None:
    assert DebianCopyright("This package was debianized by somebody.\nIt is free.\n").main == ""
