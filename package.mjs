// Makes the .vsix of one platform: the bundles, that platform's onnxruntime and the embedded model, nothing else.
// Usage: node package.mjs [--target linux-x64] [--out FILE]; without a target, for the platform it runs on.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import "tsx/cjs";

/** VS Code's name of a platform -> its folder in onnxruntime-node, and what in it is not needed. */
const targets = {
  "linux-x64": { folder: "linux/x64", omit: [] },
  "linux-arm64": { folder: "linux/arm64", omit: [] },
  // The binding is linked against libonnxruntime.1.dylib; the other name is a second copy of the same library.
  "darwin-arm64": { folder: "darwin/arm64", omit: ["libonnxruntime.1.29.0.dylib"] },
  "win32-x64": { folder: "win32/x64", omit: [] },
  "win32-arm64": { folder: "win32/arm64", omit: [] },
};

const root = dirname(fileURLToPath(import.meta.url));
process.chdir(root);
const { values } = parseArgs({ options: { target: { type: "string" }, out: { type: "string" } } });
const target = values.target ?? `${process.platform}-${process.arch}`;
if (!(target in targets))
  fail(`There is no onnxruntime for "${target}"; the targets are ${Object.keys(targets).join(", ")}.`);
const { name, version } = JSON.parse(readFileSync("package.json", "utf8"));
const out = values.out ?? `${name}-${target}-${version}.vsix`;

run(process.execPath, ["esbuild.mjs", "--production"]);
writeThirdPartyNotices();
run("npx", ["--no-install", "vsce", "package", "--target", target, "--ignoreFile", ignoreFile(), "--out", out]);
console.log(`${out}: ${megabytes(statSync(out).size)} MB, model ${relative(root, model())}`);

/** The static list, and what depends on the target. */
function ignoreFile() {
  const { folder, omit } = targets[target];
  const library = `node_modules/onnxruntime-node/bin/napi-v6/${folder}`;
  const lines = [`!${library}/**`, ...omit.map((file) => `${library}/${file}`), `!${relative(root, model())}/**`];
  const path = ".cache/package/vscodeignore";
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${readFileSync(".vscodeignore", "utf8")}${lines.join("\n")}\n`);
  return path;
}

/** Folder of the model that the server will find in the package. */
function model() {
  const { embeddedModel } = createRequire(import.meta.url)("./model-runtime/embedded-model.ts");
  const folder = embeddedModel(join(root, "dist"));
  return folder ?? fail("There is no model to put into the package: models/default and models/tiny are missing.");
}

/** The licences of what is in the package: the packages in the bundles, and onnxruntime. */
function writeThirdPartyNotices() {
  const bundled = JSON.parse(readFileSync("dist/third-party.json", "utf8"));
  const native = ["node_modules/onnxruntime-common", "node_modules/onnxruntime-node"];
  // onnxruntime's packages have no licence file; theirs is the MIT licence of the same company as this one's.
  const microsoftMit = "node_modules/vscode-jsonrpc";
  const notices = [...bundled, ...native].map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const source = native.includes(folder) ? microsoftMit : folder;
    const file = readdirSync(source).find((name) => /^licen[cs]e/i.test(name));
    if (file === undefined) fail(`${folder} has no licence file; its licence must go into the package.`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(source, file), "utf8").trim()}\n`;
  });
  writeFileSync("dist/THIRD-PARTY-NOTICES.txt", notices.join(`\n${"-".repeat(80)}\n\n`));
}

/** Runs a command and shows its output; a warning is a failure, so that none goes unread. */
function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  const output = `${stdout}${stderr}`
    .split("\n")
    .filter((line) => !line.startsWith("npm warn"))
    .join("\n");
  process.stdout.write(output);
  if (status !== 0) fail(`${command} ${args[0]} ended with exit code ${status}.`);
  if (/\bwarning\b/i.test(output)) fail("vsce warned; see above.");
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}
