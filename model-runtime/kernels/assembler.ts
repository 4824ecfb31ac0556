/**
 * WebAssembly functions written as expressions: each operation is a function from the code of its operands to its own
 * code. It has what the kernels beside it use, of WebAssembly with 128-bit SIMD, relaxed SIMD (core specification 3.0, chapter 5) and threads.
 */

type ValueType = "i32" | "f32" | "v128";

/** Code that leaves a value of its type on the stack; of type `none`, a statement. */
export interface Code<T extends ValueType | "none"> {
  readonly type: T;
  readonly bytes: readonly number[];
}

export type I32 = Code<"i32">;
export type F32 = Code<"f32">;
/** Sixteen bytes: of numbers that the operation names. */
export type V128 = Code<"v128">;
export type Statement = Code<"none">;

/** A parameter or variable of a function; as code, its value. */
export class Local<T extends ValueType> implements Code<T> {
  readonly bytes: readonly number[];

  constructor(
    readonly type: T,
    private readonly index: number,
  ) {
    this.bytes = [0x20, ...unsigned(index)];
  }

  set(value: Code<T>): Statement {
    return statement(value.bytes, 0x21, unsigned(this.index));
  }
}

/** A function of a module. */
export interface WasmFunction {
  name: string;
  parameters: ValueType[];
  locals: ValueType[];
  result: ValueType | "none";
  bytes: number[];
}

/**
 * Defines a function.
 * @param result type of its value, which is the last code of its body
 * @param body is given the parameters, and what makes a variable (it begins as zero)
 */
export function define<P extends Record<string, ValueType>, R extends ValueType | "none">(
  name: string,
  parameters: P,
  result: R,
  body: (
    parameters: { [N in keyof P]: Local<P[N]> },
    local: <T extends ValueType>(type: T) => Local<T>,
  ) => R extends "none" ? readonly Statement[] : readonly [...Statement[], Code<R>],
): WasmFunction {
  const types = Object.values(parameters);
  const locals: ValueType[] = [];
  const named = Object.fromEntries(Object.keys(parameters).map((key, i) => [key, new Local(types[i], i)]));
  const code = body(named as Parameters<typeof body>[0], (type) => {
    locals.push(type);
    return new Local(type, types.length + locals.length - 1);
  });
  return { name, parameters: types, locals, result, bytes: code.flatMap(({ bytes }) => bytes) };
}

/** Runs the body as long as `counter`, which grows by `step` each time, is below `end`. */
export function repeat(counter: Local<"i32">, end: I32, step: number, ...body: Statement[]): Statement {
  const isOver = [...counter.bytes, ...end.bytes, 0x4f];
  const isNot = [...counter.bytes, ...end.bytes, 0x49];
  const next = counter.set(i32.add(counter, i32.const(step)));
  // block; end it if over; loop; body; next; once more if not over.
  return statement(
    [0x02, 0x40],
    isOver,
    [0x0d, 0, 0x03, 0x40],
    ...body.map(({ bytes }) => bytes),
    next.bytes,
    isNot,
    [0x0d, 0, 0x0b, 0x0b],
  );
}

/** Runs the body again and again as long as the condition is not zero. */
export function during(condition: I32, ...body: Statement[]): Statement {
  // block; loop; end the block unless the condition holds; body; once more.
  return statement(
    [0x02, 0x40, 0x03, 0x40],
    condition.bytes,
    [0x45, 0x0d, 1],
    ...body.map(({ bytes }) => bytes),
    [0x0c, 0, 0x0b, 0x0b],
  );
}

/** Runs the body once if the condition is not zero. */
export function when(condition: I32, ...body: Statement[]): Statement {
  return statement(condition.bytes, [0x04, 0x40], ...body.map(({ bytes }) => bytes), [0x0b]);
}

/**
 * Calls a function of the same module.
 * @param index its place in what `assemble` is given
 */
export function call<R extends ValueType | "none">(index: number, result: R, ...operands: Code<ValueType>[]): Code<R> {
  return code(result, ...operands.map(({ bytes }) => bytes), 0x10, unsigned(index));
}

/** Forgets a value. */
export function drop(value: Code<ValueType>): Statement {
  return statement(value.bytes, 0x1a);
}

/** Moves a pointer on by a number of bytes. */
export function advance(pointer: Local<"i32">, bytes: number): Statement {
  return pointer.set(i32.add(pointer, i32.const(bytes)));
}

export const i32 = {
  const: (value: number) => code("i32", 0x41, signed(value)),
  add: binary("i32", 0x6a),
  sub: binary("i32", 0x6b),
  mul: binary("i32", 0x6c),
  and: binary("i32", 0x71),
  or: binary("i32", 0x72),
  shl: binary("i32", 0x74),
  /** Of numbers without a sign, as all below. */
  div: binary("i32", 0x6e),
  remainder: binary("i32", 0x70),
  equal: binary("i32", 0x46),
  notEqual: binary("i32", 0x47),
  less: binary("i32", 0x49),
  load: (address: I32, offset = 0) => code("i32", address.bytes, 0x28, 0, unsigned(offset)),
  store: (address: I32, value: I32, offset = 0) => statement(address.bytes, value.bytes, 0x36, 0, unsigned(offset)),
};

/** Memory that threads share: what one of them writes before such a step, another that sees the step reads after it. */
export const atomic = {
  load: (address: I32) => code("i32", address.bytes, shared(0x10)),
  store: (address: I32, value: I32) => statement(address.bytes, value.bytes, shared(0x17)),
  /** Adds; the value before is its own. */
  add: (address: I32, value: I32) => code("i32", address.bytes, value.bytes, shared(0x1e)),
  /** Writes `value` where `expected` stands; what stood there is its own value. */
  exchange: (address: I32, expected: I32, value: I32) =>
    code("i32", address.bytes, expected.bytes, value.bytes, shared(0x48)),
  /** Sleeps until it is woken, unless something else than `expected` stands there. */
  wait: (address: I32, expected: I32) =>
    drop(code("i32", address.bytes, expected.bytes, [0x42, ...signed(-1)], shared(0x01))),
};

export const f32 = {
  const: (value: number) => code("f32", 0x43, [...new Uint8Array(Float32Array.of(value).buffer)]),
  add: binary("f32", 0x92),
  div: binary("f32", 0x95),
  sqrt: (value: F32) => code("f32", value.bytes, 0x91),
  ofUnsigned: (value: I32) => code("f32", value.bytes, 0xb3),
  load: (address: I32) => code("f32", address.bytes, 0x2a, 0, 0),
  store: (address: I32, value: F32) => statement(address.bytes, value.bytes, 0x38, 0, 0),
};

/** Addresses need not be aligned; `offset` is added to them. */
export const v128 = {
  load: (address: I32, offset = 0) => code("v128", address.bytes, vector(0x00), 0, unsigned(offset)),
  store: (address: I32, value: V128, offset = 0) =>
    statement(address.bytes, value.bytes, vector(0x0b), 0, unsigned(offset)),
  /** One of four 32-bit lanes. */
  storeLane32: (address: I32, value: V128, lane: number, offset = 0) =>
    statement(address.bytes, value.bytes, vector(0x5a), 0, unsigned(offset), lane),
  /** Four times the float32 at an address. */
  loadSplat32: (address: I32, offset = 0) => code("v128", address.bytes, vector(0x09), 0, unsigned(offset)),
  /** The eight int8 at an address as int16. */
  load8x8: (address: I32, offset = 0) => code("v128", address.bytes, vector(0x01), 0, unsigned(offset)),
  and: simd(0x4e),
  /** Eight times an int16. */
  const16: (lane: number) => code("v128", vector(0x0c), new Array(8).fill([lane & 0xff, lane >> 8]).flat()),
  /** Four of the eight 32-bit lanes of two vectors. */
  shuffle: (a: V128, b: V128, lanes: readonly number[]) =>
    code(
      "v128",
      a.bytes,
      b.bytes,
      vector(0x0d),
      lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)),
    ),
};

export const i8x16 = {
  const: (lane: number) => code("v128", vector(0x0c), new Array(16).fill(lane & 0xff)),
  /** The lanes of `table` that the lanes of `places`, 0 to 15, name. */
  lookUp: simd(0x0e),
  /** Sixteen int16 as int8, saturated. */
  narrow: simd(0x65),
  abs: (a: V128) => code("v128", a.bytes, vector(0x60)),
  sub: simd(0x71),
  /** Of lanes without a sign. */
  max: simd(0x79),
  /** Without a sign. */
  lane: (a: V128, lane: number) => code("i32", a.bytes, vector(0x16), lane),
  /** Sixteen of the 32 lanes of two vectors. */
  shuffle: (a: V128, b: V128, lanes: readonly number[]) => code("v128", a.bytes, b.bytes, vector(0x0d), lanes),
};

export const i16x8 = {
  add: simd(0x8e),
  /**
   * Sums of two neighbouring products of int8 with numbers from 0 to 127: relaxed SIMD (core specification 3.0), which engines have or
   * not.
   */
  dotOfBytes: simd(0x112),
  /** Eight int32 as int16, saturated. */
  narrow: simd(0x85),
  shl: (a: V128, bits: I32) => code("v128", a.bytes, bits.bytes, vector(0x8b)),
  /** Of lanes without a sign. */
  shr: (a: V128, bits: I32) => code("v128", a.bytes, bits.bytes, vector(0x8d)),
  /** Eight of the sixteen lanes of two vectors. */
  shuffle: (a: V128, b: V128, lanes: readonly number[]) =>
    code(
      "v128",
      a.bytes,
      b.bytes,
      vector(0x0d),
      lanes.flatMap((lane) => [2 * lane, 2 * lane + 1]),
    ),
};

export const i32x4 = {
  splat: (value: I32) => code("v128", value.bytes, vector(0x11)),
  add: simd(0xae),
  sub: simd(0xb1),
  max: simd(0xb8),
  shl: (a: V128, bits: I32) => code("v128", a.bytes, bits.bytes, vector(0xab)),
  /** Sums of neighbouring products of int16. */
  dot: simd(0xba),
  /** Float32 without their fractions; NaN is 0. */
  truncate: (a: V128) => code("v128", a.bytes, vector(0xf8)),
};

export const f32x4 = {
  splat: (value: F32) => code("v128", value.bytes, vector(0x13)),
  const: (value: number) => code("v128", f32.const(value).bytes, vector(0x13)),
  lanes: (values: readonly number[]) =>
    code("v128", vector(0x0c), [...new Uint8Array(Float32Array.from(values).buffer)]),
  lane: (a: V128, lane: number) => code("f32", a.bytes, vector(0x1f), lane),
  ofInt32: (a: V128) => code("v128", a.bytes, vector(0xfa)),
  abs: (a: V128) => code("v128", a.bytes, vector(0xe0)),
  /** To the nearest whole number, halves to the even one. */
  nearest: (a: V128) => code("v128", a.bytes, vector(0x6a)),
  greaterOrEqual: simd(0x46),
  add: simd(0xe4),
  sub: simd(0xe5),
  mul: simd(0xe6),
  div: simd(0xe7),
  min: simd(0xe8),
  max: simd(0xe9),
  /** The second where it is smaller, else the first: an instruction less careful with NaN, and one instead of seven. */
  lesser: simd(0xea),
  /** The second where it is greater, else the first. */
  greater: simd(0xeb),
};

/** Pages of 64 KiB that a memory may grow to. */
export const MOST_PAGES = 2 ** 16;

/** A module of functions over a memory that threads may share, imported as `env.memory`; each is exported by its name. */
export function assemble(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters, result }) => [
    0x60,
    ...list(parameters.map((type) => [typeCode[type]])),
    ...list(result === "none" ? [] : [[typeCode[result]]]),
  ]);
  const bodies = functions.map(({ locals, bytes }) => {
    const body = [...list(locals.map((type) => [1, typeCode[type]])), ...bytes, 0x0b];
    return [...unsigned(body.length), ...body];
  });
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, [[...text("env"), ...text("memory"), 2, 3, 0, ...unsigned(MOST_PAGES)]]),
    ...section(
      3,
      functions.map((_, i) => unsigned(i)),
    ),
    ...section(
      7,
      functions.map(({ name }, i) => [...text(name), 0, ...unsigned(i)]),
    ),
    ...section(10, bodies),
  ]);
}

const typeCode = { i32: 0x7f, f32: 0x7d, v128: 0x7b };

function code<T extends ValueType | "none">(type: T, ...parts: (number | readonly number[])[]): Code<T> {
  return { type, bytes: parts.flat() };
}

function statement(...parts: (number | readonly number[])[]): Statement {
  return code("none", ...parts);
}

function binary<T extends ValueType>(type: T, operation: number): (a: Code<T>, b: Code<T>) => Code<T> {
  return (a, b) => code(type, a.bytes, b.bytes, operation);
}

function simd(operation: number): (a: V128, b: V128) => V128 {
  return (a, b) => code("v128", a.bytes, b.bytes, vector(operation));
}

/** An operation on memory that threads share, at an address that is a multiple of 4. */
function shared(operation: number): number[] {
  return [0xfe, operation, 2, 0];
}

function vector(operation: number): number[] {
  return [0xfd, ...unsigned(operation)];
}

function section(id: number, items: readonly number[][]): number[] {
  const content = list(items);
  return [id, ...unsigned(content.length), ...content];
}

function list(items: readonly number[][]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function text(name: string): number[] {
  return list([...Buffer.from(name)].map((byte) => [byte]));
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 of a number with a sign. */
function signed(value: number): number[] {
  return value >= -0x40 && value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)];
}
