/**
 * The kernels as native code (`native/`), where there is some for this platform and processor: vectors of up to 512 bits and
 * dot products of bytes, which WebAssembly has not. Without it the kernels in WebAssembly run a few rows, and onnxruntime all others.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { floatBits, nativeJobNames } from "./native-jobs";

/** What the library has; `memory` is what `memoryOf` gives for it. */
export interface NativeKernels {
  /** Which processors it is compiled for; empty where this is none of them. */
  variant: string;
  /** Takes the bytes of a memory that stays where it is, from its beginning. */
  memoryOf(bytes: Uint8Array): object;
  /** Has what is written there next lie in large pages, where the system has them. */
  useLargePages(memory: object, address: number, bytes: number): void;
  /** Does all parts of a job of a kind, with the helpers unless `isAlone` is not 0. */
  lead(memory: object, kind: number, values: number, parts: number, isAlone: number): void;
  /** Does the jobs of a list one after the other, each as `lead`: kind, values, parts and isAlone of each, 32 bits each. */
  leadAll(memory: object, list: number, count: number): void;
  /** Takes parts of jobs for some 0.2 ms. */
  help(memory: object, thread: number): void;
  /**
   * Has all threads do jobs in another way that this processor can, from their next call on, for tests: the fastest is at place 0. Says
   * for which processors that is compiled; undefined where there is no more.
   */
  use(place: number): string | undefined;
}

const FILE = `kernels-${process.platform}-${process.arch}.node`;
/** Where it lies: beside a program's bundle, or in the `dist` of the repository that sources and benchmarks are in. */
const FOLDERS = [
  __dirname,
  ...["..", "../..", "../../.."]
    .map((above) => join(__dirname, above))
    .filter((folder) => existsSync(join(folder, "kernels.mjs")))
    .map((folder) => join(folder, "dist")),
];

let loaded: { kernels: NativeKernels | null; path: string | null; problem: string | null } | null = null;

/** The library of this platform; null where there is none that works here. */
export function nativeKernels(): NativeKernels | null {
  loaded ??= load();
  return loaded.kernels;
}

/** Why there are no native kernels; null where there are. */
export function nativeKernelsProblem(): string | null {
  loaded ??= load();
  return loaded.problem;
}

/** Path of the library, for other threads to load; null where there is none. */
export function nativeKernelsFile(): string | null {
  loaded ??= load();
  return loaded.path;
}

function load(): NonNullable<typeof loaded> {
  const path = FOLDERS.map((folder) => join(folder, FILE)).find((path) => existsSync(path)) ?? null;
  const without = (problem: string) => ({ kernels: null, path, problem });
  if (path === null) return without(`there is no ${FILE}`);
  try {
    const kernels = createRequire(__filename)(path) as NativeKernels;
    if (kernels.variant === "") return without("the processor has none of the instructions that they use");
    if (!canNorm(kernels)) return without("they computed a norm wrongly");
    return { kernels, path, problem: null };
  } catch (error) {
    return without((error as Error).message);
  }
}

/** Whether jobs find their arguments and memory: the norm of 3 and 4 in turns. */
function canNorm({ memoryOf, lead }: NativeKernels): boolean {
  const [x, weight, out, width] = [256, 512, 768, 16];
  const bytes = new Uint8Array(1024);
  const floats = new Float32Array(bytes.buffer);
  for (let i = 0; i < width; i++) [floats[x / 4 + i], floats[weight / 4 + i]] = [3 + (i & 1), 2];
  new Int32Array(bytes.buffer).set([x, 0, weight, out, 0, width, floatBits(0)]);
  lead(memoryOf(bytes), nativeJobNames.indexOf("norm"), 0, 1, 1);
  const expected = 2 / Math.sqrt(12.5);
  return floats
    .subarray(out / 4, out / 4 + width)
    .every((value, i) => Math.abs(value - (3 + (i & 1)) * expected) < 1e-5);
}
