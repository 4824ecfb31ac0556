/**
 * The engine's speed on a GPU beside the same machine's processor, transformers and torch:
 *
 *     npx tsx test/bench/gpu.ts [--rounds N] [--seconds S] [--json FILE] [--python PYTHON] [--prepare]
 *
 * Prints Markdown (docs/performance-gpu.md explains it). CUDA 13's libraries must be found by the system's loader; PYTHON is
 * one whose torch knows the GPU. `--prepare` only makes the checkpoints. Rounds end early after S seconds.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeMachine } from "./lib/machine";
import { bundle, makeCheckpoints } from "./lib/prepare";
import type { Task, TaskRuns } from "./lib/protocol";
import { spread } from "./lib/statistics";
import { type Measured, Subject, type SubjectCommand } from "./lib/subject";
import { sampleText } from "./lib/text";

const root = join(__dirname, "../..");
const CONTEXTS = [512, 2048];
/** Bytes of the untimed tasks that compile loops, choose kernels and fill caches. */
const WARM_BYTES = 64;
const engine = "engine, CUDA, fp32, step by step";
const engineLoop = "engine, CUDA, fp32, loop";
const engineCpu = "engine, CPU, fp32";

/** A task with the milliseconds of each network's runs instead of the runs. */
type Noted = Omit<Measured, "runs"> & { networks?: Record<keyof TaskRuns, Record<string, number>> };

interface Result {
  settings: string;
  /** Milliseconds from spawning the process to its first prediction, alone on the machine. */
  startMs: number;
  /** Of each round, by bytes of context. */
  tasks: Record<number, Noted>[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "600" },
      json: { type: "string" },
      python: { type: "string", default: join(root, ".cache/venv/bin/python") },
      prepare: { type: "boolean", default: false },
    },
  });
  const cache = join(root, ".cache/bench");
  mkdirSync(cache, { recursive: true });
  const checkpoints = await makeCheckpoints(root, cache, values.python);
  if (values.prepare) return;
  const commands = subjects(checkpoints, await bundle(root, cache), values.python);
  const machine = { ...describeMachine(), gpu: gpuName() };
  const results: Record<string, Result> = {};
  const until = performance.now() + 1e3 * Number(values.seconds);
  await measure(commands, Number(values.rounds), until, results, () => {
    if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine, results })}\n`);
  });
  process.stdout.write(`${report(machine, results)}\n`);
}

function subjects(
  { float32, int8 }: { float32: string; int8: string },
  bundles: string,
  python: string,
): SubjectCommand[] {
  const threads = String(availableParallelism());
  const ours = (name: string, words: string[], environment: Record<string, string> = {}): SubjectCommand => ({
    name,
    command: process.execPath,
    arguments: ["--require", join(root, "test/gpu/use-cuda-provider.cjs"), join(bundles, "engine.js"), ...words],
    longestPrompt: 4096,
    environment,
  });
  const theirs = (name: string, script: string, words: string[]): SubjectCommand => ({
    name,
    command: python,
    arguments: [join(root, "test/bench/peers", script), ...words],
    longestPrompt: 4096,
  });
  return [
    ours(engine, [float32, threads, "cuda", "steps"]),
    ours(engineLoop, [float32, threads, "cuda", "loop"]),
    ours("engine, CUDA, TF32, loop", [float32, threads, "cuda", "loop"], { NVIDIA_TF32_OVERRIDE: "1" }),
    ours("engine, CUDA, int8 blocks, loop", [int8, threads, "cuda", "loop", "blocked"]),
    ours(engineCpu, [float32, threads]),
    ours("engine, CPU, int8", [int8, threads]),
    theirs("transformers, CUDA, fp32", "hf_generate.py", [float32, threads, "cuda"]),
    theirs("torch products, CUDA, fp32", "torch_products.py", [float32, threads, "float32", "cuda"]),
  ];
}

/** Starts every subject by itself, then rounds over all of them, one at a time. A subject that fails is left out. */
async function measure(
  commands: SubjectCommand[],
  rounds: number,
  until: number,
  results: Record<string, Result>,
  save: () => void,
): Promise<void> {
  const alive = new Map<string, Subject>();
  const attempt = async (name: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      process.stderr.write(`${name} is left out: ${(error as Error).message}\n`);
      alive.delete(name);
    }
  };
  const runs = new Map<number, TaskRuns>();
  for (const command of commands)
    await attempt(command.name, async () => {
      const { subject, start } = await Subject.start(command);
      process.stderr.write(`${command.name}: first byte after ${start.ms.toFixed(0)} ms\n`);
      results[command.name] = { settings: start.ready.settings, startMs: start.ms, tasks: [] };
      alive.set(command.name, subject);
      for (const bytes of CONTEXTS) {
        const task = { ...sampleText(root, 0, bytes), runs: runs.get(bytes) ?? null };
        const made = await subject.complete({ ...task, continuation: task.continuation.slice(0, WARM_BYTES) });
        if (command.name === engine) runs.set(bytes, (await subject.complete(task)).runs!);
        process.stderr.write(`  ${bytes} bytes, first time: ${made.prefillMs.toFixed(0)} ms\n`);
      }
    });
  for (let round = 0; round < rounds && (round === 0 || performance.now() < until); round++) {
    for (const [name, subject] of [...alive])
      await attempt(name, async () => {
        const tasks: Result["tasks"][0] = {};
        for (const bytes of CONTEXTS) {
          const task: Task = { ...sampleText(root, round, bytes), runs: runs.get(bytes) ?? null };
          tasks[bytes] = noted(await subject.complete(task));
        }
        results[name].tasks.push(tasks);
      });
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
    save();
  }
  for (const subject of alive.values()) await subject.stop();
}

function noted({ runs, ...measured }: Measured): Noted {
  if (!runs) return measured;
  const sums = (part: keyof TaskRuns) => {
    const ms: Record<string, number> = {};
    for (const run of runs[part]) ms[run.network] = (ms[run.network] ?? 0) + run.ms;
    return ms;
  };
  return { ...measured, networks: { prefill: sums("prefill"), decode: sums("decode") } };
}

function report(
  machine: ReturnType<typeof describeMachine> & { gpu: string },
  results: Record<string, Result>,
): string {
  const measured = Object.entries(results).filter(([, { tasks }]) => tasks.length > 0);
  const of = (tasks: Result["tasks"], pick: (task: Noted) => number, bytes: number) =>
    spread(tasks.map((round) => pick(round[bytes])));
  const cell = ({ median, min, max }: ReturnType<typeof spread>, digits = 0) =>
    `${median.toFixed(digits)} [${min.toFixed(digits)}-${max.toFixed(digits)}]`;
  const prefill = (bytes: number) => (task: Noted) => (1e3 * bytes) / task.prefillMs;
  const decode = (task: Noted) => (1e3 * task.decodedBytes) / task.decodeMs;
  const rows = measured.map(([name, { startMs, tasks }]) => [
    name,
    ...CONTEXTS.map((bytes) => cell(of(tasks, prefill(bytes), bytes))),
    ...CONTEXTS.map((bytes) => cell(of(tasks, decode, bytes))),
    ...CONTEXTS.map((bytes) =>
      cell(
        of(tasks, (task) => task.decodeMs / task.decodedBytes, bytes),
        2,
      ),
    ),
    (startMs / 1e3).toFixed(2),
  ]);
  const columns = [
    "",
    ...CONTEXTS.map((bytes) => `prefill of ${bytes}, bytes/s`),
    ...CONTEXTS.map((bytes) => `decode after ${bytes}, bytes/s`),
    ...CONTEXTS.map((bytes) => `after ${bytes}, ms a byte`),
    "first byte, s",
  ];
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const disturbances = measured.flatMap(([, { tasks }]) =>
    tasks.flatMap((round) => Object.values(round).map(({ disturbance }) => 100 * disturbance)),
  );
  return [
    `Machine: ${machine.gpu}; ${machine.processor}, ${machine.cores} cores, ${machine.memoryGb.toFixed(0)} GB; ${machine.system}; Node ${machine.node}.`,
    `Other processes used ${spread(disturbances).median.toFixed(1)} % of the cores (median). ${measured[0][1].tasks.length} rounds; median [range].`,
    "",
    ...measured.map(([name, { settings }]) => `- ${name}: ${settings}`),
    "",
    line(columns),
    line(columns.map((_, i) => (i === 0 ? "---" : "---:"))),
    ...rows.map(line),
  ].join("\n");
}

function gpuName(): string {
  try {
    const words = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    return execFileSync("nvidia-smi", words, { encoding: "utf8" }).trim();
  } catch {
    return "no NVIDIA GPU";
  }
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
