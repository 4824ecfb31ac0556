/** What the row kernels use of WebAssembly's JavaScript interface, which TypeScript declares for browsers only. */
declare namespace WebAssembly {
  class CompileError extends Error {}
  /** Throws a `CompileError` where the processor lacks an instruction. */
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory>>);
    readonly exports: Record<string, unknown>;
  }
  interface Memory {
    readonly buffer: SharedArrayBuffer;
    grow(pages: number): number;
  }
  /** Throws a `RangeError` where there is no room. */
  let Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => Memory;
}
