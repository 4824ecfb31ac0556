// Makes the .vsix of one platform: the bundles, that platform's onnxruntime and kernels, the embedded model, nothing else.
// Usage: node package.mjs [--target linux-x64] [--out FILE] [--kernels]; without a target, for the platform it runs on.
// --kernels: fails where there is no compiler for the native kernels; otherwise they are left out then.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import "tsx/cjs";

/** VS Code's name of a platform -> its folder in onnxruntime-node. */
const targets = {
  "linux-x64": "linux/x64",
  "linux-arm64": "linux/arm64",
  "darwin-arm64": "darwin/arm64",
  "win32-x64": "win32/x64",
  "win32-arm64": "win32/arm64",
};
/** A second copy of a library under a name that nothing asks for: the binding is linked against the other one. */
const needless = ["libonnxruntime.1.29.0.dylib"];

const root = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: { target: { type: "string" }, out: { type: "string" }, kernels: { type: "boolean", default: false } },
});
const target = values.target ?? `${process.platform}-${process.arch}`;
if (!(target in targets))
  fail(`There is no onnxruntime for "${target}"; the targets are ${Object.keys(targets).join(", ")}.`);
const manifest = readJson(join(root, "package.json"));
const name = `${manifest.name}-${target}-${manifest.version}.vsix`;
const out = values.out === undefined ? join(root, name) : resolve(values.out);
process.chdir(root);

const model = embeddedModel();
run(root, process.execPath, ["esbuild.mjs", "--production"]);
const kernels = nativeKernels();
const stage = layOut();
// vsce lies in the repository's packages; its own rules for leaving out files have nothing left to do.
run(stage, process.execPath, [
  join(root, "node_modules/@vscode/vsce/vsce"),
  ...["package", "--no-dependencies", "--target", target, "--out", out],
]);
rmSync(stage, { recursive: true });
console.log(`${values.out ?? name}: ${(statSync(out).size / 1e6).toFixed(1)} MB, with the model ${model}`);

/** Lays out the extension's files in a folder of its own, and returns the folder. */
function layOut() {
  mkdirSync(join(root, ".cache/package"), { recursive: true });
  // A folder of its own: two packages may be made at the same time.
  const stage = mkdtempSync(join(root, ".cache/package", `${target}-`));
  const library = `bin/napi-v6/${targets[target]}`;
  const paths = [
    ...["README.md", "CHANGELOG.md", "LICENSE", "NOTICE"].filter((file) => existsSync(file)),
    ...["extension", "server", "model-worker", "finetune-process", "tokenizer-worker", "explorer", "fine-tuning"].map(
      (name) => `dist/${name}.js`,
    ),
    ...["explorer", "fine-tuning"].map((name) => `dist/${name}.css`),
    ...kernels,
    ...readdirSync("media")
      .filter((name) => /\.(png|svg|md)$/.test(name))
      .map((name) => `media/${name}`),
    model,
  ];
  for (const path of paths) cpSync(path, join(stage, path), { recursive: true });
  // Beside the bundles that load it; vsce leaves out a `node_modules` at the top.
  copyPackage("onnxruntime-common", ["package.json", "dist/cjs"], stage);
  copyPackage("onnxruntime-node", ["package.json", "dist", library], stage);
  writeFileSync(join(stage, "dist/THIRD-PARTY-NOTICES.txt"), thirdPartyNotices());
  writeFileSync(join(stage, ".vscodeignore"), "");
  const { scripts, bin, dependencies, devDependencies, ...rest } = manifest;
  writeFileSync(join(stage, "package.json"), JSON.stringify(rest, null, 2));
  return stage;
}

/** The file with the target's kernels, as a list; an empty one where there is no compiler, which is said. */
function nativeKernels() {
  const args = ["kernels.mjs", "--production", "--required", "--target", target];
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (status === 0) return [`dist/kernels-${target}.node`];
  if (status === 2 && !values.kernels) return [];
  return fail("There are no native kernels to put into the package; see above.");
}

function copyPackage(name, paths, stage) {
  const isNeeded = (path) => !/\.(map|d\.ts)$/.test(path) && !needless.some((file) => path.endsWith(file));
  for (const path of paths) {
    const source = join("node_modules", name, path);
    if (!existsSync(source)) fail(`${source} is missing: run "npm ci".`);
    cpSync(source, join(stage, "dist/node_modules", name, path), { recursive: true, filter: isNeeded });
  }
}

/** The licences of what is in the package: the packages in the bundles and in the kernels, and onnxruntime. */
function thirdPartyNotices() {
  const native = ["node_modules/onnxruntime-common", "node_modules/onnxruntime-node"];
  // onnxruntime's packages have no licence file; theirs is the MIT licence of the same company as this one's.
  const microsoftMit = "node_modules/vscode-jsonrpc";
  const headers = kernels.length > 0 ? ["node_modules/node-api-headers"] : [];
  const notices = [...readJson("dist/third-party.json"), ...headers, ...native].map((folder) => {
    const { name, version, license } = readJson(join(folder, "package.json"));
    const source = native.includes(folder) ? microsoftMit : folder;
    const file = readdirSync(source).find((name) => /^licen[cs]e/i.test(name));
    if (file === undefined) fail(`${folder} has no licence file; its licence must go into the package.`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(source, file), "utf8").trim()}\n`;
  });
  return notices.join(`\n${"-".repeat(80)}\n\n`);
}

/** Folder of the model that the server will find in the package, relative to the repository. */
function embeddedModel() {
  const { embeddedModel } = createRequire(import.meta.url)("./model-runtime/embedded-model.ts");
  const folder = embeddedModel(join(root, "dist"));
  if (folder === null) fail("There is no model to put into the package: models/default and models/tiny are missing.");
  return relative(root, folder);
}

/** Runs a command and shows its output; a warning is a failure, so that none goes unread. */
function run(cwd, command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  process.stdout.write(`${stdout}${stderr}`);
  if (status !== 0) fail(`${args[0]} ended with exit code ${status}.`);
  if (/\bwarning\b/i.test(`${stdout}${stderr}`)) fail(`${args[0]} warned; see above.`);
}

function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}
