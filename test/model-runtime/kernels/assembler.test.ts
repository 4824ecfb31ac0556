import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import {
  advance,
  assemble,
  atomic,
  type Code,
  call,
  define,
  drop,
  during,
  f32,
  f32x4,
  type I32,
  i8x16,
  i16x8,
  i32,
  i32x4,
  MOST_PAGES,
  repeat,
  type V128,
  v128,
  type WasmFunction,
  when,
} from "../../../model-runtime/kernels/assembler";
import { hasRelaxedVectors } from "./relaxed-vectors";

type Run = (...operands: number[]) => number;

/** Functions of one module, and its memory, which begins with these float32. */
function load(functions: readonly WasmFunction[], values: readonly number[] = []) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  const floats = new Float32Array(memory.buffer);
  floats.set(values);
  const module = new WebAssembly.Module(assemble(functions));
  const exports = new WebAssembly.Instance(module, { env: { memory } }).exports as Record<string, Run>;
  return { module, memory, exports, floats, words: new Int32Array(memory.buffer) };
}

/** Runs a function in a memory that begins with these values; its value, and the memory as float32 afterwards. */
function run(wasm: WasmFunction, values: readonly number[] = [], operands: readonly number[] = []) {
  const { exports, floats } = load([wasm], values);
  return { value: exports[wasm.name](...operands), floats };
}

/** An operation on two int32 as a function of them. */
function ofWords(operation: (a: I32, b: I32) => I32): Run {
  const wasm = define("f", { a: "i32", b: "i32" }, "i32", ({ a, b }) => [operation(a, b)]);
  return load([wasm]).exports.f;
}

/** Applies an operation to two vectors of so many lanes each; the lanes that it gives. */
function lanes<A extends Int8Array | Int16Array | Int32Array>(
  operation: (a: V128, b: V128) => V128,
  [a, b]: readonly [A, A],
): number[] {
  const wasm = define("f", {}, "none", () => [
    v128.store(i32.const(64), operation(v128.load(i32.const(0)), v128.load(i32.const(16)))),
  ]);
  const { exports, memory } = load([wasm]);
  const view = (at: number) => {
    if (a instanceof Int8Array) return new Int8Array(memory.buffer, at, 16);
    return a instanceof Int16Array ? new Int16Array(memory.buffer, at, 8) : new Int32Array(memory.buffer, at, 4);
  };
  view(0).set(a);
  view(16).set(b);
  exports.f();
  return [...view(64)];
}

/** Sixteen int8 as eight int16, and back. */
const asShorts = (bytes: Iterable<number>) => new Int16Array(Int8Array.from(bytes).buffer);
const asBytes = (shorts: Iterable<number>) => [...new Int8Array(Int16Array.from(shorts).buffer)];

/** Applies an operation to the vectors at 0 and 16; the four float32 that it gives. */
function vector(operation: (a: V128, b: V128) => V128, values: number[]): number[] {
  const at = (address: number): Code<"v128"> => v128.load(i32.const(address));
  const wasm = define("f", {}, "none", () => [v128.store(i32.const(64), operation(at(0), at(16)))]);
  return [...run(wasm, values).floats.subarray(16, 20)];
}

describe("the assembler", () => {
  it("encodes whole numbers of any size", () => {
    for (const number of [
      0,
      1,
      63,
      64,
      127,
      128,
      8191,
      8192,
      2 ** 20,
      2 ** 31 - 128,
      2 ** 32 - 1,
      -1,
      -64,
      -65,
      -128,
      -(2 ** 31),
    ]) {
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

  it("encodes addresses, places and offsets of any size", () => {
    // As many variables that their numbers take two bytes, and a function behind as many others.
    const many = define("many", { x: "i32" }, "i32", ({ x }, local) => {
      const variables = Array.from({ length: 200 }, () => local("i32"));
      return [variables[199].set(i32.add(x, i32.const(1))), i32.store(x, variables[199], 5000), i32.load(x, 5000)];
    });
    const others = Array.from({ length: 150 }, (_, i) => define(`other${i}`, {}, "none", () => []));
    const last = define("last", { x: "i32" }, "i32", ({ x }) => [call(150, "i32", x)]);
    const { exports, words } = load([...others, many, last]);
    assert.equal(exports.last(1000), 1001);
    assert.equal(words[1500], 1001);
  });

  it("runs a body during a condition, and not at all where it does not hold", () => {
    // The lowest number, n + 3 k, that is no less than the end.
    const wasm = define("f", { n: "i32", end: "i32" }, "i32", ({ n, end }) => [
      during(i32.less(n, end), advance(n, 3)),
      n,
    ]);
    for (const [n, end, expected] of [
      [0, 0, 0],
      [7, 5, 7],
      [0, 1, 3],
      [1, 100, 100],
      [2, 100, 101],
    ])
      assert.equal(run(wasm, [], [n, end]).value, expected);
  });

  it("runs loops within loops and conditions", () => {
    // Pairs (a, b) below n with a < b.
    const wasm = define("f", { n: "i32" }, "i32", ({ n }, local) => {
      const [a, b, count] = [local("i32"), local("i32"), local("i32")];
      return [
        during(
          i32.less(a, n),
          b.set(i32.const(0)),
          repeat(b, n, 1, when(i32.less(a, b), advance(count, 1))),
          advance(a, 1),
        ),
        count,
      ];
    });
    for (const [n, pairs] of [
      [0, 0],
      [1, 0],
      [2, 1],
      [9, 36],
    ])
      assert.equal(run(wasm, [], [n]).value, pairs);
  });

  it("runs a body once when a condition is not zero", () => {
    const wasm = define("f", { condition: "i32" }, "i32", ({ condition }, local) => {
      const times = local("i32");
      return [when(condition, advance(times, 1)), times];
    });
    for (const [condition, times] of [
      [0, 0],
      [1, 1],
      [2, 1],
      [-1, 1],
    ])
      assert.equal(run(wasm, [], [condition]).value, times);
  });

  it("calls functions of its module, operands in their order, and forgets a value", () => {
    const root = define("root", { x: "f32", y: "f32" }, "f32", ({ x, y }) => [f32.sqrt(f32.div(x, y))]);
    const put = define("put", { at: "i32", x: "f32" }, "none", ({ at, x }) => [f32.store(at, x)]);
    const outer = define("outer", { x: "f32" }, "f32", ({ x }) => [
      call(1, "none", i32.const(8), call(0, "f32", x, f32.const(4))),
      drop(call(0, "f32", x, x)),
      f32.load(i32.const(8)),
    ]);
    const { exports, floats } = load([root, put, outer]);
    assert.equal(exports.outer(36), 3);
    assert.equal(floats[2], 3);
  });

  it("computes with int32", () => {
    const operations: [string, (a: I32, b: I32) => I32, (a: number, b: number) => number][] = [
      ["add", i32.add, (a, b) => a + b],
      ["sub", i32.sub, (a, b) => a - b],
      ["mul", i32.mul, Math.imul],
      ["and", i32.and, (a, b) => a & b],
      ["or", i32.or, (a, b) => a | b],
      ["shl", i32.shl, (a, b) => a << b],
      ["equal", i32.equal, (a, b) => Number(a === b)],
      ["notEqual", i32.notEqual, (a, b) => Number(a !== b)],
      ["less", i32.less, (a, b) => Number(a >>> 0 < b >>> 0)],
      ["div", i32.div, (a, b) => Math.floor((a >>> 0) / (b >>> 0))],
      ["remainder", i32.remainder, (a, b) => (a >>> 0) % (b >>> 0)],
    ];
    const word = fc.oneof(fc.integer(), fc.integer({ min: -3, max: 3 }));
    for (const [name, operation, expected] of operations) {
      const wasm = ofWords(operation);
      const isDivision = name === "div" || name === "remainder";
      fc.assert(
        fc.property(word, word, fc.boolean(), (a, other, isSame) => {
          const b = isSame ? a : other;
          fc.pre(!isDivision || b !== 0);
          assert.equal(wasm(a, b), expected(a, b) | 0, `${name}(${a}, ${b})`);
        }),
      );
    }
  });

  it("reads and writes words and float32", () => {
    const wasm = define("f", { at: "i32", x: "i32" }, "i32", ({ at, x }) => [
      i32.store(at, x),
      i32.store(at, i32.add(i32.load(at), i32.const(1)), 400),
      f32.store(i32.add(at, i32.const(8)), f32.ofUnsigned(i32.load(at, 400))),
      i32.load(at),
    ]);
    const { exports, words, floats } = load([wasm]);
    assert.equal(exports.f(40, -7), -7);
    assert.deepEqual([words[10], words[110], floats[12]], [-7, -6, Math.fround(2 ** 32 - 6)]);
    assert.equal(
      run(
        define("f", {}, "f32", () => [f32.load(i32.const(4))]),
        [1, 0.1],
      ).value,
      Math.fround(0.1),
    );
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

  it("takes the lesser and the greater of two float32, and the first where either is no number", () => {
    const values = [1, -2.5, Number.NaN, 4, 2, -3, 7, Number.NaN];
    assert.deepEqual(vector(f32x4.lesser, values), [1, -3, Number.NaN, 4]);
    assert.deepEqual(vector(f32x4.greater, values), [2, -2.5, Number.NaN, 4]);
    assert.deepEqual(
      vector(() => f32x4.const(-0.1), []),
      new Array(4).fill(Math.fround(-0.1)),
    );
  });

  it("writes one lane", () => {
    for (const lane of [0, 1, 2, 3]) {
      const wasm = define("f", { at: "i32" }, "none", ({ at }) => [
        v128.storeLane32(at, v128.load(i32.const(0)), lane, 256),
      ]);
      const { floats } = run(wasm, [5, 6, 7, 8], [64]);
      assert.deepEqual([...floats.subarray(79, 82)], [0, 5 + lane, 0]);
    }
  });

  it("has the operations of four int32", () => {
    const fours = fc.array(fc.integer(), { minLength: 4, maxLength: 4 }).map((list) => Int32Array.from(list));
    const operations: [string, (a: V128, b: V128) => V128, (a: number, b: number) => number][] = [
      ["add", i32x4.add, (a, b) => a + b],
      ["sub", i32x4.sub, (a, b) => a - b],
      ["max", i32x4.max, Math.max],
      ["and", v128.and, (a, b) => a & b],
      ["shl", (a) => i32x4.shl(a, i32.const(11)), (a) => a << 11],
      ["splat", () => i32x4.splat(i32.const(-70000)), () => -70000],
    ];
    for (const [name, operation, expected] of operations)
      fc.assert(
        fc.property(fours, fours, (a, b) => {
          const found = lanes(operation, [a, b]);
          assert.deepEqual(
            found,
            [...a].map((x, i) => expected(x, b[i]) | 0),
            name,
          );
        }),
        { numRuns: 20 },
      );
  });

  it("has the operations of eight int16", () => {
    const a = Int16Array.of(1, -1, 0x0123, -32768, 32767, 0x0f0f, -2, 100);
    const b = Int16Array.of(11, 12, 13, 14, 15, 16, 17, 18);
    const cut = (value: number) => (value << 16) >> 16;
    const list = [...a];
    assert.deepEqual(
      lanes((x) => i16x8.shl(x, i32.const(4)), [a, b]),
      list.map((value) => cut(value << 4)),
    );
    assert.deepEqual(
      lanes((x) => i16x8.shr(x, i32.const(12)), [a, b]),
      list.map((value) => (value & 0xffff) >> 12),
    );
    assert.deepEqual(
      lanes((x) => v128.and(x, v128.const16(0x0f00)), [a, b]),
      list.map((value) => value & 0x0f00),
    );
    assert.deepEqual(
      lanes(() => v128.const16(-2), [a, b]),
      new Array(8).fill(-2),
    );
    const order = [15, 0, 8, 7, 3, 3, 12, 1];
    assert.deepEqual(
      lanes((x, y) => i16x8.shuffle(x, y, order), [a, b]),
      order.map((lane) => [...a, ...b][lane]),
    );
    assert.deepEqual(
      lanes(i16x8.add, [a, a]),
      list.map((value) => cut(value + value)),
    );
    assert.deepEqual(
      lanes(i16x8.add, [a, b]),
      list.map((value, i) => cut(value + b[i])),
    );
  });

  it("has the operations of sixteen int8", () => {
    const byte = fc.oneof(fc.integer({ min: -128, max: 127 }), fc.constantFrom(-128, -1, 0, 127));
    const sixteen = fc.array(byte, { minLength: 16, maxLength: 16 }).map((list) => Int8Array.from(list));
    const cut = (value: number) => (value << 24) >> 24;
    const operations: [string, (a: V128, b: V128) => V128, (a: number, b: number) => number][] = [
      ["sub", i8x16.sub, (a, b) => a - b],
      ["max", i8x16.max, (a, b) => Math.max(a & 0xff, b & 0xff)],
      ["abs", i8x16.abs, Math.abs],
      ["const", () => i8x16.const(-7), () => -7],
      ["const", () => i8x16.const(200), () => 200],
      ["and const", (a) => v128.and(a, i8x16.const(15)), (a) => a & 15],
    ];
    for (const [name, operation, expected] of operations)
      fc.assert(
        fc.property(sixteen, sixteen, (a, b) => {
          assert.deepEqual(
            lanes(operation, [a, b]),
            [...a].map((x, i) => cut(expected(x, b[i]))),
            name,
          );
        }),
        { numRuns: 20 },
      );
  });

  it("reads one int8 without its sign", () => {
    const values = Int8Array.from({ length: 16 }, (_, i) => 100 + 10 * i);
    for (let lane = 0; lane < 16; lane++) {
      const found = lanes((x) => i32x4.splat(i8x16.lane(x, lane)), [new Int32Array(values.buffer), new Int32Array(4)]);
      assert.deepEqual(found, new Array(4).fill(values[lane] & 0xff));
    }
  });

  it("takes int8 from a table and from two vectors", () => {
    const a = Int8Array.from({ length: 16 }, (_, i) => 8 * i - 100);
    const places = Int8Array.of(15, 0, 3, 3, 8, 7, 1, 2, 14, 13, 12, 11, 10, 9, 6, 0);
    assert.deepEqual(
      lanes(i8x16.lookUp, [a, places]),
      [...places].map((place) => a[place]),
    );
    const b = a.map((value) => value + 1);
    const order = [31, 0, 16, 15, 3, 3, 20, 1, 2, 30, 17, 8, 9, 25, 24, 12];
    assert.deepEqual(
      lanes((x, y) => i8x16.shuffle(x, y, order), [a, b]),
      order.map((lane) => [...a, ...b][lane]),
    );
  });

  it("makes int16 int8, saturated", () => {
    const a = Int16Array.of(0, 1, -1, 127, 128, 129, 255, 256);
    const b = Int16Array.of(-127, -128, -129, -256, 32767, -32768, 5, -6);
    assert.deepEqual(
      asBytes(lanes(i8x16.narrow, [a, b])),
      [0, 1, -1, 127, 127, 127, 127, 127, -127, -128, -128, -128, 127, -128, 5, -6],
    );
  });

  it("adds two products of bytes each", function () {
    if (!hasRelaxedVectors()) this.skip();
    const list = (min: number) => {
      const byte = fc.oneof(fc.integer({ min, max: 127 }), fc.constantFrom(min, 0, 127));
      return fc.array(byte, { minLength: 16, maxLength: 16 });
    };
    fc.assert(
      // Two products of -128 and 127 are still an int16.
      fc.property(list(-128), list(0), (a, b) => {
        const products = a.map((value, i) => Math.imul(value, b[i]));
        assert.deepEqual(
          lanes(i16x8.dotOfBytes, [asShorts(a), asShorts(b)]),
          Array.from({ length: 8 }, (_, i) => products[2 * i] + products[2 * i + 1]),
        );
      }),
    );
  });

  it("has vectors of four float32", () => {
    for (const values of [
      [1, -0.1, 3e38, 2 ** -149],
      [Number.NaN, Number.NEGATIVE_INFINITY, 0, -0],
    ])
      assert.deepEqual(
        vector(() => f32x4.lanes(values), []),
        values.map(Math.fround),
      );
  });
});

describe("memory that threads share", () => {
  it("is read, written, added to and exchanged where it holds what is expected", () => {
    const { exports, words } = load([
      define("load", { at: "i32" }, "i32", ({ at }) => [atomic.load(at)]),
      define("store", { at: "i32", value: "i32" }, "none", ({ at, value }) => [atomic.store(at, value)]),
      define("add", { at: "i32", value: "i32" }, "i32", ({ at, value }) => [atomic.add(at, value)]),
      define("exchange", { at: "i32", expected: "i32", value: "i32" }, "i32", ({ at, expected, value }) => [
        atomic.exchange(at, expected, value),
      ]),
    ]);
    words[3] = -5;
    assert.equal(exports.load(12), -5);
    exports.store(12, 2 ** 31 - 1);
    assert.equal(words[3], 2 ** 31 - 1);
    assert.equal(exports.add(12, 2), 2 ** 31 - 1);
    assert.equal(words[3], -(2 ** 31) + 1);
    words[3] = 8;
    assert.equal(exports.exchange(12, 7, 9), 8);
    assert.equal(words[3], 8);
    assert.equal(exports.exchange(12, 8, 9), 8);
    assert.deepEqual([...words.subarray(2, 5)], [0, 9, 0]);
  });

  it("does not let sleep who expects something else there", () => {
    const wasm = define("f", { expected: "i32" }, "i32", ({ expected }) => [
      atomic.wait(i32.const(4), expected),
      i32.const(1),
    ]);
    assert.equal(run(wasm, [], [5]).value, 1);
  });

  it("lets a thread sleep until it is woken, and counts what several add at a time", async () => {
    const [WAKE, ARRIVED, SUM, DONE] = [0, 4, 8, 12].map((at) => i32.const(at));
    const wasm = define("f", { threads: "i32", times: "i32" }, "none", ({ threads, times }, local) => {
      const i = local("i32");
      return [
        atomic.wait(WAKE, i32.const(0)),
        drop(atomic.add(ARRIVED, i32.const(1))),
        during(i32.less(atomic.load(ARRIVED), threads)),
        repeat(i, times, 1, drop(atomic.add(SUM, i32.const(1)))),
        drop(atomic.add(DONE, i32.const(1))),
      ];
    });
    const { module, memory, words } = load([wasm]);
    const program = `const { module, memory, operands } = require("node:worker_threads").workerData;
new WebAssembly.Instance(module, { env: { memory } }).exports.f(...operands);`;
    const [threads, times] = [2, 100_000];
    const workerData = { module, memory, operands: [threads, times] };
    const workers = Array.from({ length: threads }, () => new Worker(program, { eval: true, workerData }));
    for (let woken = 0; woken < threads; woken += Atomics.notify(words, 0)) {
      assert.ok(Atomics.load(words, 1) <= woken, "none goes on before it is woken");
      await setTimeout(5);
    }
    while (Atomics.load(words, 3) < threads) await setTimeout(5);
    assert.equal(Atomics.load(words, 2), threads * times);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});
