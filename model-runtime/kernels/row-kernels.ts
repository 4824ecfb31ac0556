/**
 * The kernels of single rows, compiled, and a memory of their own that they work in. They are WebAssembly that is made here, so
 * that nothing has to be built for a platform (docs/architecture.md, "Single bytes").
 */
import { addTo, rmsNorm, swiGlu } from "./activations";
import { assemble } from "./assembler";
import { attentionScores, softmax, weightedSum } from "./attention";
import { floatProduct, integerProduct, quantize } from "./products";

/** The kernels as functions of addresses and sizes, described where each is defined. */
export interface RowKernels {
  quantize(x: number, integers: number, inputs: number, step: number): number;
  integerProduct(
    integers: number,
    weights: number,
    streamBytes: number,
    scales: number,
    out: number,
    inputs: number,
    outputs: number,
    largest: number,
  ): void;
  floatProduct(x: number, weights: number, out: number, inputs: number, outputs: number): void;
  rmsNorm(x: number, weight: number, out: number, width: number, epsilon: number): void;
  addTo(x: number, y: number, width: number): void;
  swiGlu(gates: number, width: number): void;
  attentionScores(query: number, keys: number, mask: number, scores: number, headDim: number, positions: number): void;
  softmax(scores: number, positions: number): number;
  weightedSum(
    weights: number,
    values: number,
    out: number,
    headDim: number,
    slots: number,
    positions: number,
    factor: number,
  ): void;
}

const functions = [
  quantize,
  integerProduct,
  floatProduct,
  rmsNorm,
  addTo,
  swiGlu,
  attentionScores,
  softmax,
  weightedSum,
];
const PAGE = 2 ** 16;
/** Of what is allocated, unless said: a line of the processor's cache. */
const ALIGNMENT = 64;

let compiled: WebAssembly.Module | null = null;

/** A memory and the kernels over it; what is allocated stays until the memory is forgotten. */
export class RowMemory {
  readonly kernels: RowKernels;
  private used = 0;
  private view: Float32Array;

  /**
   * A new memory; null where there can be none: the engine has no WebAssembly (`--jitless`), the processor not its vectors, or the
   * system no room. Each memory reserves 10 GB of addresses, which may be limited.
   */
  static create(): RowMemory | null {
    if (typeof WebAssembly === "undefined") return null;
    try {
      return new RowMemory(new WebAssembly.Memory({ initial: 1 }));
    } catch (error) {
      if (error instanceof WebAssembly.CompileError || error instanceof RangeError) return null;
      throw error;
    }
  }

  private constructor(private readonly memory: WebAssembly.Memory) {
    this.view = new Float32Array(memory.buffer);
    compiled ??= new WebAssembly.Module(assemble(functions));
    const { exports } = new WebAssembly.Instance(compiled, { env: { memory: this.memory } });
    this.kernels = exports as unknown as RowKernels;
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
    this.used = address + bytes;
    const missing = this.used - this.byteLength;
    if (missing > 0) {
      this.memory.grow(Math.ceil(missing / PAGE));
      this.view = new Float32Array(this.memory.buffer);
    }
    return address;
  }

  /** Address of so many float32, zeros. */
  allocateFloats(count: number): number {
    return this.allocate(4 * count);
  }

  /** Address of a copy of values, a multiple of `alignment`. */
  place(values: Float32Array | Int8Array, alignment = ALIGNMENT): number {
    const address = this.allocate(values.byteLength, alignment);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    new Uint8Array(this.memory.buffer).set(bytes, address);
    return address;
  }
}
