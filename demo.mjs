// Completes a real file with the embedded model and prints the ghost text (grey in a terminal).
// Usage: npm run demo [-- --editor]; with --editor it opens a real VS Code in the browser instead, with the extension
// installed, in a sample folder (Linux x64: code-server is installed under .cache/; elsewhere the package is made and it is
// said how to install it in a VS Code that is there).
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

process.chdir(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({ options: { editor: { type: "boolean", default: false } } });
if (values.editor) editor();
else terminal();

function terminal() {
  run("esbuild.mjs");
  run("kernels.mjs");
  const file = "test/fixtures/complete-me.ts";
  const grey = process.stdout.isTTY ? ["\x1b[90m", "\x1b[0m"] : ["", ""];
  process.stdout.write(`${readFileSync(file, "utf8")}${grey[0]}`);
  // The function with the bracket that closes it.
  const stop = ["--max-bytes", "120", "--stop", "\n\n"];
  run("dist/cli.js", "generate", "--prompt-file", file, ...stop);
  process.stdout.write(`${grey[1]}\n`);
}

function editor() {
  const vsix = join(".cache", "blt-code.vsix");
  const web = process.platform === "linux" && process.arch === "x64";
  // The browser is the person's own.
  const env = { ...process.env, CHROMIUM: "none" };
  if (web) check(spawnSync("bash", ["test/e2e/install.sh"], { stdio: "inherit", env }));
  run("package.mjs", "--out", vsix);
  if (web) run("--require", "tsx/cjs", "test/e2e/open.ts", vsix);
  else console.log(`code-server comes ready for Linux x64 only. Install the package: code --install-extension ${vsix}`);
}

function run(...args) {
  check(spawnSync(process.execPath, args, { stdio: "inherit" }));
}

function check({ status }) {
  if (status !== 0) process.exit(status ?? 1);
}
