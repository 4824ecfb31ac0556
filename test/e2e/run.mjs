// The end-to-end tests: makes the package, and tests it in a real VS Code. `npm test` runs them too.
// Usage: node test/e2e/run.mjs [ui|host]; ends with "N passed, N failed, N skipped".
// Environment: VSIX, a package to test instead of a new one; VSCODE_EXECUTABLE or VSCODE_DOWNLOAD, a desktop VS Code that
// runs the suite of the extension host too.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
process.chdir(root);
const work = ".cache/e2e";
mkdirSync(work, { recursive: true });
const only = process.argv[2];
const total = { passed: 0, failed: 0, skipped: 0 };
const { VSIX, VSCODE_EXECUTABLE, VSCODE_DOWNLOAD, CHROMIUM } = process.env;
const desktop = VSCODE_EXECUTABLE !== undefined || VSCODE_DOWNLOAD !== undefined;
// code-server and its Node come ready for Linux x64 only; elsewhere there is a desktop VS Code.
const web = process.platform === "linux" && process.arch === "x64";

const reason = skipReason();
if (reason !== null) {
  console.log(`The end-to-end tests are skipped: ${reason}\n0 passed, 0 failed, 1 skipped`);
  process.exit(0);
}
if (web) need("bash", ["test/e2e/install.sh"]);
const vsix = resolve(VSIX ?? join(work, "blt-code.vsix"));
if (VSIX === undefined) need(process.execPath, ["package.mjs", "--out", vsix]);

if (web && only !== "host")
  suite("a person in VS Code", [
    "node_modules/mocha/bin/mocha.js",
    "test/e2e/ui.test.ts",
    "test/e2e/restricted.test.ts",
    "test/e2e/overlay.test.ts",
    "test/e2e/fine-tuning.test.ts",
  ]);
if (only !== "ui") {
  const extension = unpack();
  await bundleSuite();
  const paths = [extension, join(work, "host")];
  if (web)
    suite("VS Code's API in code-server", ["--require", "tsx/cjs", "test/e2e/host/run-code-server.ts", ...paths]);
  if (desktop)
    suite("VS Code's API on the desktop", ["--require", "tsx/cjs", "test/e2e/host/run-electron.ts", ...paths]);
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 ? 1 : 0);

/** Why nothing can be tested on this machine; null when something can. */
function skipReason() {
  if (desktop) return null;
  if (!web) return "code-server comes ready for Linux x64 only; set VSCODE_EXECUTABLE or VSCODE_DOWNLOAD elsewhere.";
  const canInstall = process.getuid() === 0 || spawnSync("sudo", ["-n", "true"]).status === 0;
  if (existsSync(CHROMIUM ?? "/usr/bin/chromium") || canInstall) return null;
  return "there is no /usr/bin/chromium and no right to install it; install it, or name a browser in CHROMIUM.";
}

/** A step without which nothing can be tested. */
function need(command, args) {
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  if (status !== 0) process.exit(1);
}

/** A run of tests that counts them, in mocha's words or in ours. */
function suite(title, args) {
  console.log(`\n# ${title}`);
  const { status, stdout } = spawnSync(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    env: { ...process.env, VSIX: vsix },
  });
  console.log(stdout);
  const count = (words) => Number(new RegExp(`^\\s*(?:.*, )?(\\d+) (?:${words})\\b`, "m").exec(stdout)?.[1] ?? 0);
  total.passed += count("passing|passed");
  total.skipped += count("pending|skipped");
  const failed = count("failing|failed");
  total.failed += status === 0 ? failed : Math.max(failed, 1);
}

/** The package as the extension host is to load it: the files that users get. */
function unpack() {
  const folder = join(work, "unpacked");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // A .vsix is a zip file, which the `tar` of Windows and macOS reads, and `unzip` elsewhere.
  if (process.platform === "linux") need("unzip", ["-q", vsix, "-d", folder]);
  else need("tar", ["-xf", vsix, "-C", folder]);
  return join(folder, "extension");
}

/** mocha stays outside the bundle: it is loaded from node_modules at run time. */
async function bundleSuite() {
  const folder = "test/e2e/host/suite";
  rmSync(join(work, "host"), { recursive: true, force: true });
  await build({
    entryPoints: readdirSync(folder).map((name) => join(folder, name)),
    outdir: join(work, "host"),
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    external: ["vscode", "mocha"],
    logLevel: "warning",
  });
}
