/**
 * The kernels of rows, and a memory of their own that they work in. Those in WebAssembly are made here, so that nothing has to be built for
 * a platform; where there are native ones, the team's jobs are theirs (docs/architecture.md, "Rows by kernels of our own").
 */
import { setFlagsFromString } from "node:v8";
import { addTo, rmsNorm, swiGlu } from "./activations";
import { assemble, MOST_PAGES, type WasmFunction } from "./assembler";
import { attentionScores, putRows, rotate, scale, softmax, weightedSum } from "./attention";
import { blockProduct, blockProductOfBytes, quantizeBlocks, quantizeToBytes } from "./blocks";
import { blockReach, expandBlocks } from "./expand";
import { type JobArgument, type JobName, jobArguments, jobFunctions, jobNames } from "./jobs";
import { nativeKernels, nativeKernelsFile } from "./native";
import { type NativeJobArgument, type NativeJobName, nativeJobArguments, nativeJobNames } from "./native-jobs";
import { floatProduct, integerProduct, quantize } from "./products";
import { nativeHelper, TEAM_BYTES, Team, type TeamFunctions, teamFunctions, wasmHelper } from "./team";

/** The kernels as functions of addresses and sizes, described where each is defined. */
export interface RowKernels {
  quantize(x: number, integers: number, inputs: number, step: number): number;
  quantizeBlocks(x: number, out: number, inputs: number): void;
  blockReach(numbers: number, out: number, count: number): void;
  expandBlocks(numbers: number, ratios: number, out: number, outBytes: number, blocks: number, scratch: number): void;
  floatProduct(x: number, weights: number, out: number, inputs: number, outputs: number): void;
  rmsNorm(x: number, weight: number, out: number, width: number, epsilon: number): void;
  addTo(x: number, y: number, width: number): void;
  swiGlu(gates: number, width: number): void;
  rotate(x: number, cos: number, sin: number, headDim: number, heads: number): void;
  scale(x: number, width: number, factor: number): void;
  putRows(
    keys: number,
    values: number,
    rows: number,
    tiles: number,
    strips: number,
    slot: number,
    slots: number,
    headDim: number,
  ): void;
}

/** Rows of values in the memory: address of the first, and bytes from one to the next. */
export interface RowSpan {
  at: number;
  bytes: number;
}

/** A job whose arguments lie in the kernels' memory, by their names. */
export interface Job<A extends string> {
  values: Int32Array;
  /** Where arguments lie among these. */
  places(...names: A[]): number[];
  /** Does all of so many parts; `isSmall` where it is not worth more than one thread. */
  run(parts: number, isSmall?: boolean): void;
}

/** Jobs that are done one after the other with the arguments that they had when they were listed. */
export interface JobList {
  run(): void;
  /** Gives its place in the memory to lists to come; it is not run any more. */
  release(): void;
}

/** Sets the arguments of a job at some of their places. */
export function setArguments(
  { values }: Pick<Job<never>, "values">,
  places: readonly number[],
  ...given: number[]
): void {
  for (let i = 0; i < given.length; i++) values[places[i]] = given[i];
}

/** @param isRelaxed whether the engine has products of bytes */
function moduleOf(isRelaxed: boolean): WebAssembly.Module {
  const multiply = isRelaxed ? blockProductOfBytes : blockProduct;
  const kernels = [
    multiply,
    isRelaxed ? quantizeToBytes : quantizeBlocks,
    blockReach,
    expandBlocks,
    quantize,
    integerProduct,
    floatProduct,
    rmsNorm,
    addTo,
    swiGlu,
    rotate,
    scale,
    putRows,
    ...attentionScores,
    softmax,
    ...weightedSum,
  ];
  const indexOf = (kernel: WasmFunction) => {
    if (!kernels.includes(kernel)) throw new Error(`kernel ${kernel.name} is in no module`);
    return jobNames.length + kernels.indexOf(kernel);
  };
  const jobs = jobFunctions(indexOf, multiply);
  return new WebAssembly.Module(assemble([...jobs, ...kernels, ...teamFunctions(jobs)]));
}

/** Compiles what the engine can run. @throws a `CompileError` where that is nothing */
function compile(): WebAssembly.Module {
  try {
    return moduleOf(true);
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
  }
  try {
    // Node 20 has them behind a flag, which later engines do not know.
    if (Number.parseFloat(process.versions.v8) < 11.4) setFlagsFromString("--experimental-wasm-relaxed-simd");
    return moduleOf(true);
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    return moduleOf(false);
  }
}

const PAGE = 2 ** 16;
/** Of what is allocated, unless said: a line of the processor's cache. */
const ALIGNMENT = 64;

/** Numbers of a list's entry. */
const ENTRY_NUMBERS = 4;

let compiled: WebAssembly.Module | null = null;

/** A memory and the kernels over it; what is allocated stays until the memory is forgotten. */
export class RowMemory {
  readonly kernels: RowKernels;
  /** Who does the jobs. */
  readonly team: Team;
  /** Whether the team runs the native kernels, which take any number of rows. */
  readonly isNative: boolean;
  private readonly useLargePages: ((address: number, bytes: number) => void) | null = null;
  private readonly leadAll: ((list: number, count: number) => void) | null = null;
  /** Of a list in the making: each job's kind, arguments, parts, and whether who leads does it alone. */
  private listed: { kind: number; values: Int32Array; parts: number; isAlone: boolean }[] | null = null;
  /** Places of lists that were released: addresses, and how many numbers they have room for. */
  private spareLists: { at: number; room: number }[] = [];
  private used = TEAM_BYTES;
  private view: Float32Array;

  /**
   * A new memory; null where there can be none: the engine has no WebAssembly (`--jitless`), the processor not its vectors, or the
   * system no room. Each memory reserves 10 GB of addresses, which may be limited.
   * @param threads that do jobs together, the caller's included
   * @param mayBeNative whether the native kernels are used where there are some
   */
  static create(threads = 1, mayBeNative = false): RowMemory | null {
    if (typeof WebAssembly === "undefined") return null;
    try {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
      return new RowMemory(memory, threads - 1, mayBeNative);
    } catch (error) {
      if (error instanceof WebAssembly.CompileError || error instanceof RangeError) return null;
      throw error;
    }
  }

  private constructor(
    private readonly memory: WebAssembly.Memory,
    helpers: number,
    mayBeNative: boolean,
  ) {
    this.view = new Float32Array(memory.buffer);
    compiled ??= compile();
    const { exports } = new WebAssembly.Instance(compiled, { env: { memory: this.memory } });
    this.kernels = exports as unknown as RowKernels;
    const native = mayBeNative ? nativeKernels() : null;
    this.isNative = native !== null;
    if (native === null) {
      this.team = new Team(memory, exports as unknown as TeamFunctions, helpers, wasmHelper(compiled));
      return;
    }
    const address = native.memoryOf(new Uint8Array(memory.buffer));
    this.useLargePages = (first, bytes) => native.useLargePages(address, first, bytes);
    this.leadAll = (list, count) => native.leadAll(address, list, count);
    const functions: TeamFunctions = {
      doAlone: (kind, values, parts) => native.lead(address, kind, values, parts, 1),
      lead: (kind, values, parts) => native.lead(address, kind, values, parts, 0),
    };
    this.team = new Team(memory, functions, helpers, nativeHelper(nativeKernelsFile()!));
  }

  /** All of the memory as float32: an address is four times the index. Another array once more has been allocated. */
  get floats(): Float32Array {
    return this.view;
  }

  get byteLength(): number {
    return this.memory.buffer.byteLength;
  }

  /** Address of so many bytes, zeros; a multiple of `alignment`. */
  allocate(bytes: number, alignment = ALIGNMENT): number {
    const address = Math.ceil(this.used / alignment) * alignment;
    this.growTo(address + bytes);
    this.used = address + bytes;
    return address;
  }

  /** Makes room for so many bytes to be allocated; false where there is none. */
  reserve(bytes: number): boolean {
    try {
      this.growTo(this.used + bytes);
      return true;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  }

  /**
   * Call before so many bytes are allocated and filled that are read from end to end again and again, weights: they then lie in
   * large pages where the system has them, which takes no more memory as all of them are filled.
   */
  expectDense(bytes: number): void {
    this.growTo(this.used + bytes);
    this.useLargePages?.(this.used, bytes);
  }

  private growTo(bytes: number): void {
    const missing = bytes - this.byteLength;
    if (missing <= 0) return;
    this.memory.grow(Math.ceil(missing / PAGE));
    this.view = new Float32Array(this.memory.buffer);
  }

  /** Address of so many float32, zeros. */
  allocateFloats(count: number): number {
    return this.allocate(4 * count);
  }

  /** Rows of so many float32, zeros. */
  allocateRows(count: number, width: number): RowSpan {
    return { at: this.allocateFloats(count * width), bytes: 4 * width };
  }

  /** The first `width` values of one of such rows, as long as nothing more is allocated. */
  row({ at, bytes }: RowSpan, row: number, width: number): Float32Array {
    const start = (at + row * bytes) / 4;
    return this.view.subarray(start, start + width);
  }

  /**
   * A job for the team (`jobs.ts`).
   * @param fixed its arguments, but for those that are set before it is run
   */
  job<J extends JobName>(name: J, fixed: Partial<Record<JobArgument<J>, number>>): Job<JobArgument<J>> {
    return this.jobOf(jobNames.indexOf(name), jobArguments[name], fixed);
  }

  /** A job of the native kernels alone (`native-jobs.ts`). */
  nativeJob<J extends NativeJobName>(
    name: J,
    fixed: Partial<Record<NativeJobArgument<J>, number>>,
  ): Job<NativeJobArgument<J>> {
    return this.jobOf(nativeJobNames.indexOf(name), nativeJobArguments[name], fixed);
  }

  private jobOf<A extends string>(kind: number, names: readonly A[], fixed: Partial<Record<A, number>>): Job<A> {
    const at = this.allocate(4 * names.length);
    const values = this.integers(at, names.length);
    values.set(names.map((each) => fixed[each] ?? 0));
    return {
      values,
      places: (...wanted) => wanted.map((each) => names.indexOf(each)),
      run: (parts, isSmall = false) => {
        if (this.listed === null) this.team.run(kind, at, parts, isSmall);
        else this.listed.push({ kind, values: values.slice(), parts, isAlone: this.team.isAlone(parts, isSmall) });
      },
    };
  }

  /**
   * Lists the native jobs that `give` would run, instead of running them. One call for all of them takes less time than hundreds, between
   * which a step's weights push JavaScript out of the processor's caches.
   */
  list(give: () => void): JobList {
    const { leadAll } = this;
    if (leadAll === null) throw new Error("there are no lists of the jobs in WebAssembly");
    this.listed = [];
    try {
      give();
      const jobs = this.listed;
      // The entries, and all arguments behind them.
      const length = jobs.reduce((sum, { values }) => sum + values.length, ENTRY_NUMBERS * jobs.length);
      const place = this.placeOfList(length);
      const list = place.at;
      const numbers = this.integers(list, length);
      let at = ENTRY_NUMBERS * jobs.length;
      jobs.forEach(({ kind, values, parts, isAlone }, i) => {
        numbers.set([kind, list + 4 * at, parts, Number(isAlone)], ENTRY_NUMBERS * i);
        numbers.set(values, at);
        at += values.length;
      });
      return { run: () => leadAll(list, jobs.length), release: () => this.spareLists.push(place) };
    } finally {
      this.listed = null;
    }
  }

  private placeOfList(length: number): { at: number; room: number } {
    const spare = this.spareLists.findIndex(({ room }) => room >= length);
    return spare < 0 ? { at: this.allocateFloats(length), room: length } : this.spareLists.splice(spare, 1)[0];
  }

  /** So many int32 of the memory: one that threads share grows in its place, so that the view stays. */
  integers(address: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, address, length);
  }

  /** Bytes of the memory, as long as nothing more is allocated. */
  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }

  /** Address of a copy of values, a multiple of `alignment`. */
  place(values: Float32Array | Int32Array | Int8Array, alignment = ALIGNMENT): number {
    const address = this.allocate(values.byteLength, alignment);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.bytes(address, bytes.length).set(bytes);
    return address;
  }
}
