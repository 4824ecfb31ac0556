/**
 * Chooses how int8 weights are multiplied on this machine, by asking it: signed products saturate on processors
 * without dot-product instructions (wrong results, no error), and which exact kernel is fastest differs as well.
 */
import { Graph, type Value } from "../graph/graph";
import { createSession, type SessionOptions } from "../session";
import { type Int8Kernel, int8Linear } from "./linear";

let chosen: Promise<Int8Kernel> | null = null;

/** The exact rows kernel, or blocks where they are much faster; timed once a process (about 0.1 s). */
export function fastestInt8Kernel(options: SessionOptions): Promise<Int8Kernel> {
  chosen ??= choose(options);
  return chosen;
}

async function choose(options: SessionOptions): Promise<Int8Kernel> {
  // The integer kernels exist for CPUs only; elsewhere weights are expanded.
  if (options.device !== "cpu") return "float32";
  const rows = await exactRowsKernel(options);
  const cost = await timeKernel(rows, options);
  return (await timeKernel("blocked", options)) < WORTH_BLOCKS * cost ? "blocked" : rows;
}

/** Part of the rows' cost that blocks must not exceed: they leave copies of the weights in memory, and a short timing errs. */
const WORTH_BLOCKS = 0.7;

/** The one of the two `rows` kernels that computes rightly here and is the faster one. */
export async function exactRowsKernel(options: SessionOptions): Promise<"rows" | "rows-narrow"> {
  return (await saturates(options)) ? "rows-narrow" : "rows";
}

/** Whether large signed products of `rows` come out wrong, which they do where pairs are summed in 16 bits. */
export async function saturates(options: SessionOptions): Promise<boolean> {
  const width = 64;
  const graph = new Graph("saturation");
  const x = graph.input("x", ["N", width]);
  const weight = graph.int8(new Int8Array(width * width).fill(127), [width, width]);
  graph.output("y", int8Linear(graph, x, weight, graph.float32(new Float32Array(width).fill(1)), "rows"));
  const session = await createSession(graph, options);
  const { y } = await session.run({ x: { data: new Float32Array(width).fill(1), shape: [1, width] } });
  await session.release();
  return Math.abs(y[0] / (127 * width) - 1) > 0.01;
}

/** Milliseconds of one row and of an eighth of 64 rows through four layers of a million weights. */
async function timeKernel(kernel: Int8Kernel, options: SessionOptions): Promise<number> {
  const [width, layers] = [1024, 4];
  const graph = new Graph(`timing-${kernel}`);
  let x: Value = graph.input("x", ["N", width]);
  const pattern = new Int8Array(width * width);
  for (let i = 0; i < pattern.length; i++) pattern[i] = (i * 37) & 0xff;
  for (let layer = 0; layer < layers; layer++) {
    const weight = graph.int8(pattern, [width, width]);
    x = int8Linear(graph, x, weight, graph.float32(new Float32Array(width).fill(1e-3)), kernel);
  }
  graph.output("y", x);
  const session = await createSession(graph, options);
  const time = async (rows: number, runs: number) => {
    let best = Number.POSITIVE_INFINITY;
    const feeds = { x: { data: new Float32Array(rows * width).fill(0.5), shape: [rows, width] } };
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      await session.run(feeds);
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };
  const cost = (await time(1, 4)) + (await time(64, 2)) / 8;
  await session.release();
  return cost;
}
