/**
 * Which files hold text that the user wrote, told by name and by content: no secrets, no binaries, nothing generated,
 * minified or vendored, no lock files. Models learn from the rest and quote from it, so when in doubt a file stays out.
 */

/** Why a file or folder is passed over. */
export type PassReason =
  | "ignored"
  | "secret"
  | "lock file"
  | "vendored"
  | "generated"
  | "minified"
  | "binary"
  | "not UTF-8"
  | "empty"
  | "too large"
  | "link"
  | "no permission"
  | "unreadable"
  | "vanished"
  | "changing";

/** Largest file that is read, bytes: what a person writes is smaller. */
export const MAX_FILE_BYTES = 1_000_000;

/** Folders of other people's code, of tools and of build outputs, in lower case. */
const passedFolders: ReadonlyMap<string, PassReason> = new Map([
  ...listed("ignored", ".git .hg .svn .jj .vs .idea .cache .pytest_cache .mypy_cache .ruff_cache .gradle .terraform"),
  ...listed("vendored", "node_modules bower_components jspm_packages vendor third_party third-party thirdparty"),
  ...listed("vendored", ".yarn .pnpm-store .venv venv site-packages .tox .nox pods carthage deriveddata"),
  ...listed("generated", "__pycache__ dist out coverage .next .nuxt .output .svelte-kit .parcel-cache .turbo .angular"),
  ...listed("secret", ".ssh .gnupg .aws .azure .kube .docker"),
]);

const lockFiles = new Set(
  "package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock cargo.lock poetry.lock uv.lock pdm.lock pipfile.lock composer.lock gemfile.lock go.sum flake.lock packages.lock.json podfile.lock mix.lock pubspec.lock gradle.lockfile .terraform.lock.hcl".split(
    " ",
  ),
);

/** An `.env` example is meant to be read by others. */
const exampleName = /(^|[._-])(example|sample|template|dist)s?([._-]|$)/i;
const secretName =
  /^(\.env($|\..*)|.*\.env|\.envrc|\.netrc|_netrc|\.npmrc|\.pypirc|\.pgpass|\.htpasswd|\.git-credentials|\.dockercfg|id_(rsa|dsa|ecdsa|ed25519).*|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk|asc|gpg|pgp|ovpn)|(credentials?|secrets?)(\.(json|ya?ml|toml|ini|txt|properties))?|.*service[-_]?account.*\.json|terraform\.tfvars|.*\.tfstate.*)$/i;
const minifiedName = /[.-]min\.(js|mjs|cjs|css)$|\.(map|snap)$/i;
const generatedName = /(\.pb\.(go|cc|h)|_pb2(_grpc)?\.pyi?|\.g\.(dart|cs)|\.designer\.cs|\.generated\.[a-z]+)$/i;
const binaryName =
  /\.(png|jpe?g|gif|webp|avif|bmp|ico|icns|tiff?|psd|pdf|zip|gz|bz2|xz|zst|7z|rar|tar|tgz|jar|war|class|o|a|so|dylib|dll|exe|bin|dat|pdb|wasm|pyc|pyd|woff2?|ttf|otf|eot|mp[34]|m4a|mov|avi|mkv|webm|ogg|wav|flac|sqlite3?|db|parquet|arrow|npy|npz|pt|pth|onnx|safetensors|gguf|h5|pkl|vsix|iso|dmg|docx?|xlsx?|pptx?)$/i;
/** Rows of values and drawings in text form: nothing that a person types. */
const dataName = /\.(csv|tsv|jsonl|ndjson|svg|log|patch|diff|geojson|ipynb|lcov)$/i;

/** Why a folder is passed over with all that is in it; null when it is entered. `name` is its own, without a path. */
export function passFolder(name: string): PassReason | null {
  return passedFolders.get(name.toLowerCase()) ?? null;
}

/** Why a file is passed over for its name; null when its content decides. `name` is its own, without a path. */
export function passName(name: string): PassReason | null {
  if (lockFiles.has(name.toLowerCase())) return "lock file";
  if (secretName.test(name) && !exampleName.test(name)) return "secret";
  if (binaryName.test(name)) return "binary";
  if (minifiedName.test(name)) return "minified";
  if (generatedName.test(name) || dataName.test(name)) return "generated";
  return null;
}

/** As git does: a zero byte near the beginning makes a file binary. */
const BINARY_HEAD = 8000;
/** Longest line and mean line of text that a person wrote, bytes; prose is written in paragraphs without line ends. */
const LONGEST_LINE = 5000;
const MEAN_LINE = { code: 200, prose: 2000 };
const proseName = /\.(md|mdx|markdown|rst|adoc|txt|tex)$/i;
/** How far into a file the note that it is generated is looked for, bytes. */
const GENERATED_HEAD = 3000;
const generatedNote =
  /^[ \t]*(\/\/|\/?\*|#|--|;|<!--|%|"""|\/\*).*(@generated\b|(auto(matically)?[- ]?generated|code generated|generated (by|from|file|automatically|code)).*\b(do not|don't|not be) (edit|modif|change)|(do not|don't) (edit|modify).*generated)/im;
/** Beginnings that private keys and the tokens of widely used services have. */
const secretContent =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{50}|\bglpat-[A-Za-z0-9_-]{20}|\bxox[abprs]-[A-Za-z0-9-]{20}|\bsk-(ant-|proj-|live-)?[A-Za-z0-9_-]{32}|\bsk_live_[A-Za-z0-9]{20}|\bAIza[0-9A-Za-z_-]{35}\b|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_-]{50}/;

/** Why a file is passed over for its content; null when it is text that the user wrote. */
export function passContent(name: string, bytes: Uint8Array): PassReason | null {
  if (bytes.length === 0) return "empty";
  if (bytes.length > MAX_FILE_BYTES) return "too large";
  if (bytes.subarray(0, BINARY_HEAD).includes(0)) return "binary";
  const text = decodeStrictly(bytes);
  if (text === null) return "not UTF-8";
  if (hasLongLines(bytes, MEAN_LINE[proseName.test(name) ? "prose" : "code"])) return "minified";
  if (generatedNote.test(text.slice(0, GENERATED_HEAD))) return "generated";
  if (secretContent.test(text)) return "secret";
  return null;
}

function hasLongLines(bytes: Uint8Array, mean: number): boolean {
  let lines = 1;
  let start = 0;
  for (;;) {
    const end = bytes.indexOf(10, start);
    if ((end < 0 ? bytes.length : end) - start > LONGEST_LINE) return true;
    if (end < 0) return bytes.length / lines > mean;
    lines++;
    start = end + 1;
  }
}

function decodeStrictly(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

function listed(reason: PassReason, names: string): [string, PassReason][] {
  return names.split(" ").map((name) => [name, reason]);
}
