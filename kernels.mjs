// Compiles the kernels in C (model-runtime/kernels/native) for one platform, into dist/kernels-PLATFORM.node. They are
// optional: without that file the kernels in WebAssembly run. Nothing is done where it is newer than what it is made of.
// Usage: node kernels.mjs [--target linux-x64] [--production] [--required]; without a target, for the platform it runs on.
// --production: compiles in any case, and leaves out symbols. --required: ends with exit code 1 where compiling failed, with
// 2 where there is no compiler; otherwise both are only said, and end with 0.
// Environment: CC, the compiler for the platform it runs on. Without it clang, gcc or cc; for other platforms Zig.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** VS Code's name of a platform -> Zig's; glibc and macOS are the oldest that VS Code runs on, or older. */
const targets = {
  "linux-x64": "x86_64-linux-gnu.2.28",
  "linux-arm64": "aarch64-linux-gnu.2.28",
  "darwin-arm64": "aarch64-macos.11.0",
  "win32-x64": "x86_64-windows-gnu",
  "win32-arm64": "aarch64-windows-gnu",
};
const host = `${process.platform}-${process.arch}`;

const root = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: {
    target: { type: "string" },
    production: { type: "boolean", default: false },
    required: { type: "boolean", default: false },
  },
});
const target = values.target ?? host;
if (!(target in targets))
  end(
    `There are no native kernels for "${target}"; the targets are ${Object.keys(targets).join(", ")}.`,
    values.target === undefined && !values.required ? 0 : 1,
  );
const [system, processor] = target.split("-");
process.chdir(root);

const sources = "model-runtime/kernels/native";
const out = `dist/kernels-${target}.node`;
if (!values.production && isNewest()) process.exit(0);
try {
  // What was made of other sources may take other arguments than it is given.
  rmSync(out, { force: true });
} catch {
  end(`${out} cannot be replaced: a program has it open.`, 1);
}
const compiler = findCompiler();
if (compiler === null) end(`${missing()} the kernels in WebAssembly are used.`, values.required ? 2 : 0);
// Beside the file, so that it appears under its name as a whole.
mkdirSync("dist", { recursive: true });
const folder = mkdtempSync("dist/kernels-");
const isCompiled = await compile();
rmSync(folder, { recursive: true });
if (!isCompiled)
  end(
    `"${compiler.command.join(" ")}" could not compile the native kernels for ${target}: those in WebAssembly are used.`,
    values.required ? 1 : 0,
  );

function isNewest() {
  const paths = ["kernels.mjs", ...readdirSync(sources).map((name) => join(sources, name))];
  return existsSync(out) && paths.every((path) => statSync(path).mtimeMs < statSync(out).mtimeMs);
}

/** The compiler's command, and whether it is Zig; null where there is none. */
function findCompiler() {
  const { CC } = process.env;
  if (target === host) {
    // With arguments ("ccache gcc"), unless it is a path with spaces.
    if (CC) return { command: existsSync(CC) ? [CC] : CC.trim().split(/\s+/), isZig: false };
    const name = localCompilers().find((name) => works(name, "--version"));
    if (name !== undefined) return { command: [name], isZig: false };
  }
  const python = process.platform === "win32" ? "python" : "python3";
  const zig = [["zig"], [python, "-m", "ziglang"]].find((command) => works(...command, "version"));
  return zig === undefined ? null : { command: [...zig, "cc"], isZig: true };
}

function localCompilers() {
  // GCC does not align vectors of 256 bits on the stack of Windows.
  if (process.platform === "win32") return ["clang"];
  // Where Apple's tools are not installed, commands of these names open a window that offers to do it.
  if (process.platform === "darwin" && !works("xcode-select", "-p")) return [];
  return ["clang", "gcc", "cc"];
}

function works(command, ...args) {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** Which compiler there is not, and what to install. */
function missing() {
  if (target !== host) return `There is no Zig to compile kernels for ${target} ("pip install ziglang" installs one):`;
  const tools = {
    linux: "clang or gcc",
    darwin: "Apple's command line tools",
    win32: "LLVM and Visual Studio's build tools for C++",
  };
  return `There is no C compiler for the faster native kernels (install ${tools[system]} for them):`;
}

/** Compiles all sources at the same time and links them; shows what the compiler says. */
async function compile() {
  const jobs = Object.entries(variants()).map(([variant, flags]) => {
    return object("jobs", variant, [`-DJOBS_VARIANT=${variant}`, ...flags]);
  });
  const others = ["team", "addon", ...(system === "win32" ? ["node-api-windows"] : [])];
  const objects = await Promise.all([...jobs, ...others.map((name) => object(name, name, []))]);
  if (objects.includes(null)) return false;
  const linked = join(folder, "kernels.node");
  if (!(await run(["-shared", ...linking(), "-o", linked, ...objects]))) return false;
  renameSync(linked, out);
  return true;
}

/** Path of a source's object; null where compiling failed. */
async function object(source, name, flags) {
  const path = join(folder, `${name}.o`);
  const isMade = await run([...common(), ...flags, "-c", join(sources, `${source}.c`), "-o", path]);
  return isMade ? path : null;
}

/** Kinds of processors that jobs.c is compiled for, as addon.c names them. */
function variants() {
  const avx512 = [..."f bw vl dq".split(" ").map((set) => `-mavx512${set}`), "-mfma", "-mprefer-vector-width=512"];
  if (processor === "x64")
    return {
      avx512vnni: [...avx512, "-mavx512vnni"],
      avxvnni: ["-mavx2", "-mfma", "-mf16c", "-mavxvnni"],
      avx512,
      avx2: ["-mavx2", "-mfma", "-mf16c"],
    };
  if (compiler.isZig) return { dotprod: [`-mcpu=${system === "darwin" ? "apple_m1" : "generic+v8_2a+dotprod"}`] };
  return { dotprod: [system === "darwin" ? "-mcpu=apple-m1" : "-march=armv8.2-a+dotprod"] };
}

function common() {
  return [
    ...platform(),
    ...["-O3", "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"],
    // A product and a sum become one instruction, as GCC does by itself.
    "-ffp-contract=fast",
    // A square root becomes an instruction: no function of a libm that may be newer than the one of whoever runs this.
    "-fno-math-errno",
    // On Windows the functions of Node-API are the library's own (node-api-windows.c).
    system === "win32" ? "-DNAPI_EXTERN=" : "-fPIC",
    "-I",
    createRequire(import.meta.url)("node-api-headers").include_dir,
  ];
}

function linking() {
  const flags = platform();
  // Node has the functions of Node-API; elsewhere a library may lack them without a word.
  if (system === "darwin") flags.push("-undefined", "dynamic_lookup", "-Wl,-install_name,@rpath/kernels.node");
  if (!values.production) return flags;
  if (compiler.isZig || system === "linux") flags.push("-s");
  else if (system === "darwin") flags.push("-Wl,-x");
  return flags;
}

/** What the compiler compiles for. */
function platform() {
  if (compiler.isZig) return ["-target", targets[target]];
  if (system === "win32") return [`--target=${processor === "x64" ? "x86_64" : "aarch64"}-pc-windows-msvc`];
  return system === "darwin" ? ["-mmacosx-version-min=11.0"] : [];
}

/** Whether the compiler succeeds with these arguments. */
async function run(args) {
  const [program, ...rest] = [...compiler.command, ...args];
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
  const isDone = await new Promise((resolve) => {
    child.on("error", ({ message }) => resolve((output += `${message}\n`) === ""));
    child.on("close", (code) => resolve(code === 0));
  });
  process.stderr.write(output);
  return isDone;
}

function end(sentence, code) {
  console.error(sentence);
  process.exit(code);
}
