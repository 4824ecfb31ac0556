import assert from "node:assert/strict";
import {
  advance,
  assemble,
  type Code,
  define,
  f32,
  f32x4,
  i16x8,
  i32,
  i32x4,
  MOST_PAGES,
  repeat,
  type V128,
  v128,
  type WasmFunction,
} from "../../../model-runtime/kernels/assembler";

/** Runs a function in a memory that begins with these values; its value, and the memory as float32 afterwards. */
function run(wasm: WasmFunction, values: number[] = [], words: number[] = []) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  const floats = new Float32Array(memory.buffer);
  floats.set(values);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(assemble([wasm])), { env: { memory } });
  const value = (instance.exports[wasm.name] as (...words: number[]) => number)(...words);
  return { value, floats };
}

/** Applies an operation to the vectors at 0 and 16; the four float32 that it gives. */
function vector(operation: (a: V128, b: V128) => V128, values: number[]): number[] {
  const at = (address: number): Code<"v128"> => v128.load(i32.const(address));
  const wasm = define("f", {}, "none", () => [v128.store(i32.const(64), operation(at(0), at(16)))]);
  return [...run(wasm, values).floats.subarray(16, 20)];
}

describe("the assembler", () => {
  it("encodes whole numbers of any size", () => {
    for (const number of [0, 1, 63, 64, 127, 128, 8191, 8192, 2 ** 20, 2 ** 31 - 128, -1, -64, -65, -128, -(2 ** 31)]) {
      const { value } = run(define("f", {}, "f32", () => [f32.ofUnsigned(i32.const(number))]));
      assert.equal(value, Math.fround(number >>> 0), `${number}`);
    }
  });

  it("computes with float32", () => {
    const wasm = define("f", { x: "f32", y: "f32" }, "f32", ({ x, y }) => [
      f32.div(f32.add(f32.sqrt(x), f32.const(0.1)), y),
    ]);
    assert.equal(run(wasm, [], [16, 3]).value, Math.fround(Math.fround(4 + Math.fround(0.1)) / 3));
  });

  it("repeats a body as often as its counter says, and not at all where it is at its end", () => {
    const wasm = define("f", { end: "i32" }, "f32", ({ end }, local) => {
      const [counter, times] = [local("i32"), local("i32")];
      return [repeat(counter, end, 4, advance(times, 1)), f32.ofUnsigned(times)];
    });
    for (const [end, times] of [
      [0, 0],
      [1, 1],
      [4, 1],
      [5, 2],
      [400, 100],
    ])
      assert.equal(run(wasm, [], [end]).value, times);
  });

  it("has the operations of four float32", () => {
    const values = [1, -2.5, 3.5, 0.5, 2, -2.5, 7, -0.25];
    const [a, b] = [values.slice(0, 4), values.slice(4)];
    const each = (operation: (x: number, y: number) => number) => a.map((x, i) => Math.fround(operation(x, b[i])));
    assert.deepEqual(
      vector(f32x4.add, values),
      each((x, y) => x + y),
    );
    assert.deepEqual(
      vector(f32x4.sub, values),
      each((x, y) => x - y),
    );
    assert.deepEqual(
      vector(f32x4.mul, values),
      each((x, y) => x * y),
    );
    assert.deepEqual(
      vector(f32x4.div, values),
      each((x, y) => x / y),
    );
    assert.deepEqual(vector(f32x4.min, values), each(Math.min));
    assert.deepEqual(vector(f32x4.max, values), each(Math.max));
    assert.deepEqual(vector(f32x4.abs, values), a.map(Math.abs));
    assert.deepEqual(vector(f32x4.nearest, values), [1, -2, 4, 0]);
    assert.deepEqual(
      vector((x, y) => v128.and(x, f32x4.greaterOrEqual(x, y)), values),
      [0, -2.5, 0, 0.5],
    );
    assert.deepEqual(
      vector((x, y) => v128.shuffle(x, y, [3, 4, 0, 7]), values),
      [0.5, 2, 1, -0.25],
    );
    assert.deepEqual(
      vector((x) => f32x4.splat(f32x4.lane(x, 2)), values),
      [3.5, 3.5, 3.5, 3.5],
    );
    assert.deepEqual(
      vector(() => v128.loadSplat32(i32.const(0), 4), values),
      [-2.5, -2.5, -2.5, -2.5],
    );
  });

  it("has the operations of whole numbers", () => {
    const values = [1, -2.5, 40000, Number.NaN, 2, 3, 4, 5];
    const whole = (x: V128) => i32x4.truncate(x);
    assert.deepEqual(
      vector((x) => f32x4.ofInt32(whole(x)), values),
      [1, -2, 40000, 0],
    );
    assert.deepEqual(
      vector((x, y) => f32x4.ofInt32(i32x4.add(whole(x), whole(y))), values),
      [3, 1, 40004, 5],
    );
    assert.deepEqual(
      vector((x) => f32x4.ofInt32(i32x4.shl(whole(x), i32.const(3))), values),
      [8, -16, 320000, 0],
    );
    // Saturated to int16, then pairs of products: [1, -2, 32767, 0, 2, 3, 4, 5] with itself.
    assert.deepEqual(
      vector((x, y) => {
        const narrow = i16x8.narrow(whole(x), whole(y));
        return f32x4.ofInt32(i32x4.dot(narrow, narrow));
      }, values),
      [5, Math.fround(32767 ** 2), 13, 41],
    );
    const bytes = new Float32Array(Int8Array.of(1, -1, 127, -127, 5, 6, -7, 8).buffer);
    assert.deepEqual(
      vector(() => {
        const wide = v128.load8x8(i32.const(0));
        return f32x4.ofInt32(i32x4.dot(wide, wide));
      }, [...bytes]),
      [2, 2 * 127 ** 2, 61, 113],
    );
  });
});
