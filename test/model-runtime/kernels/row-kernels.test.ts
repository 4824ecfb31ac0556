import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import fc from "fast-check";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { TEAM_BYTES } from "../../../model-runtime/kernels/team";
import { hasRelaxedVectors } from "./relaxed-vectors";

const file = resolve("model-runtime/kernels/row-kernels.ts");

describe("RowMemory", () => {
  const withoutVectors = ["sse3", "ssse3", "sse4-1", "avx"].map((name) => `--no-enable-${name}`);
  for (const [title, flags, isThere] of [
    ["is there", [], true],
    ["is none in an engine without WebAssembly", ["--jitless"], false],
    ["is none where the processor has no vectors of WebAssembly's", withoutVectors, false],
  ] as const)
    it(title, function () {
      // Other processors all have them.
      if (flags === withoutVectors && process.arch !== "x64") this.skip();
      const script = `console.log(require(${JSON.stringify(file)}).RowMemory.create() !== null)`;
      const { stdout, stderr } = spawnSync(process.execPath, [...flags, "-r", "tsx/cjs", "-e", script], {
        encoding: "utf8",
      });
      assert.equal(stdout.trim(), String(isThere), stderr);
    });

  /** Products of two threads, and whether they are those of bytes, in a process that runs some code first. */
  const multiplyAfter = (code: string): { isOfBytes: boolean; products: number[] } => {
    const script = `
const { Module } = WebAssembly;
let isOfBytes;
const has = (bytes) => Buffer.from(bytes).includes(Uint8Array.of(0xfd, 0x92, 0x02));
WebAssembly.Module = function (bytes) {
  const module = new Module(bytes);
  isOfBytes = has(bytes);
  return module;
};
${code}
const memory = require(${JSON.stringify(file)}).RowMemory.create(2);
const [blocks, groups] = [5, 9];
let state = 1;
const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const inputs = memory.place(Float32Array.from({ length: 32 * blocks }, () => random() - 0.5));
const x = memory.allocate(96 * blocks);
memory.kernels.quantizeBlocks(inputs, x, 32 * blocks);
const streamBytes = 4096;
const weights = memory.place(Int8Array.from({ length: 4 * streamBytes }, () => 256 * random()));
const scales = memory.place(Float32Array.from({ length: 4 * groups * blocks }, () => random() - 0.5));
const out = memory.allocateFloats(4 * groups);
const sizes = { rows: 1, streamBytes, outBytes: 0, blocks, groups: 1, allGroups: groups };
memory.team.begin();
memory.job("multiplyBlocks", { x, weights, scales, out, ...sizes }).run(groups);
const products = [...new Uint32Array(memory.floats.buffer, out, 4 * groups)];
console.log(JSON.stringify({ isOfBytes, products }));`;
    const { stdout, stderr } = spawnSync(process.execPath, ["-r", "tsx/cjs", "-e", script], { encoding: "utf8" });
    assert.notEqual(stdout, "", stderr);
    return JSON.parse(stdout);
  };

  it("gives the same bits in an engine without products of bytes", () => {
    const expected = multiplyAfter("");
    assert.equal(expected.isOfBytes, hasRelaxedVectors());
    const floats = new Float32Array(Uint32Array.from(expected.products).buffer);
    assert.ok(floats.every((value) => Number.isFinite(value) && value !== 0));
    const refusing = `
const compile = WebAssembly.Module;
WebAssembly.Module = function (bytes) {
  if (has(bytes)) throw new WebAssembly.CompileError("invalid numeric opcode");
  return compile(bytes);
};`;
    assert.deepEqual(multiplyAfter(refusing), { ...expected, isOfBytes: false });
    // Node 20 has them behind a flag.
    const isBehindFlag = process.versions.node.startsWith("20.");
    const withoutFlag = 'require("node:v8").setFlagsFromString = () => {};';
    const isOfBytes = expected.isOfBytes && !isBehindFlag;
    assert.deepEqual(multiplyAfter(withoutFlag), { ...expected, isOfBytes });
  });

  it("allocates zeros at multiples of what is asked for, none of them twice, also where it grows", () => {
    const sizes = fc.record({
      bytes: fc.integer({ min: 1, max: 100_000 }),
      alignment: fc.constantFrom(4, 16, 64, 4096),
    });
    fc.assert(
      fc.property(fc.array(sizes, { minLength: 1, maxLength: 8 }), (wanted) => {
        const memory = RowMemory.create()!;
        // What the threads share lies in front.
        let end = TEAM_BYTES;
        const places = wanted.map(({ bytes, alignment }, i) => {
          const at = memory.allocate(bytes, alignment);
          assert.equal(at % alignment, 0);
          assert.ok(at >= end && at + bytes <= memory.byteLength);
          end = at + bytes;
          assert.ok(memory.bytes(at, bytes).every((value) => value === 0));
          memory.bytes(at, bytes).fill(i + 1);
          return at;
        });
        wanted.forEach(({ bytes }, i) => {
          assert.ok(memory.bytes(places[i], bytes).every((value) => value === i + 1));
        });
        assert.equal(memory.floats.byteLength, memory.byteLength);
      }),
    );
  });

  it("allocates lines of the processor's cache unless said", () => {
    const memory = RowMemory.create()!;
    memory.allocate(1, 1);
    for (const at of [memory.allocate(3), memory.allocateFloats(5), memory.place(Int8Array.of(1))])
      assert.equal(at % 64, 0);
  });

  it("places copies of what an array shows of its buffer", () => {
    const memory = RowMemory.create()!;
    const floats = Float32Array.of(1, 2, 3, 4, 5).subarray(1, 4);
    const at = memory.place(floats);
    const integers = memory.place(Int8Array.of(-1, 2, -3).subarray(1), 4096);
    floats.fill(9);
    assert.deepEqual([...memory.floats.subarray(at / 4, at / 4 + 4)], [2, 3, 4, 0]);
    assert.equal(integers % 4096, 0);
    assert.deepEqual([...memory.bytes(integers, 3)], [2, 253, 0]);
  });

  it("has rows behind each other, each with as many values as are asked for", () => {
    const memory = RowMemory.create()!;
    const rows = memory.allocateRows(3, 5);
    assert.equal(rows.bytes, 20);
    for (const row of [0, 1, 2]) memory.row(rows, row, 5).fill(row + 1);
    memory.row(rows, 1, 2).fill(7);
    assert.deepEqual(
      [...memory.floats.subarray(rows.at / 4, rows.at / 4 + 15)],
      [1, 1, 1, 1, 1, 7, 7, 2, 2, 2, 3, 3, 3, 3, 3],
    );
  });

  it("has jobs whose arguments can be set at any time, also when more has been allocated", () => {
    const memory = RowMemory.create()!;
    const heads = 3;
    const job = memory.job("soften", { positions: 4, scoreBytes: 16 });
    const [scores, factors] = job.places("scores", "factors");
    assert.deepEqual(job.places("positions", "scores"), [3, 0]);
    assert.deepEqual([...job.values], [0, 16, 0, 4, 0]);
    memory.allocate(2 ** 20);
    const [from, to] = [memory.place(new Float32Array(4 * heads).fill(3)), memory.allocateFloats(heads)];
    job.values[scores] = from;
    job.values[factors] = to;
    job.run(heads);
    assert.deepEqual([...memory.floats.subarray(from / 4, from / 4 + 12)], new Array(12).fill(1));
    assert.deepEqual([...memory.floats.subarray(to / 4, to / 4 + 4)], [0.25, 0.25, 0.25, 0]);
  });

  it("lists native jobs with the arguments that they have then, and does them in their order as often as is wanted", async function () {
    if (nativeKernels() === null) this.skip();
    const memory = RowMemory.create(2, true)!;
    const [width, rows] = [16, 40];
    const x = memory.place(new Float32Array(rows * width).fill(1));
    const job = memory.nativeJob("add", { x, xBytes: 4 * width, width });
    const [y] = job.places("y");
    const amounts = [2, 30].map((much) => memory.place(new Float32Array(width).fill(much)));
    const values = () => [...new Set(memory.floats.subarray(x / 4, x / 4 + rows * width))];
    const list = memory.list(() => {
      for (const amount of [amounts[0], amounts[1], amounts[0]]) {
        job.values[y] = amount;
        job.run(rows, amount === amounts[1]);
      }
    });
    assert.deepEqual(values(), [1]);
    job.values[y] = amounts[1];
    memory.team.begin();
    list.run();
    assert.deepEqual(values(), [35]);
    list.run();
    job.run(rows);
    assert.deepEqual(values(), [99]);
    // Another list in its place.
    list.release();
    const before = memory.allocate(64);
    const next = memory.list(() => job.run(rows));
    assert.equal(memory.allocate(64), before + 64);
    next.run();
    assert.deepEqual(values(), [129]);
    memory.team.end();
    await memory.team.release();
  });

  it("lists nothing where the jobs are in WebAssembly, and nothing of what fails", () => {
    assert.throws(() => RowMemory.create()!.list(() => {}), /no lists/);
    if (nativeKernels() === null) return;
    const memory = RowMemory.create(1, true)!;
    const fails = () => {
      throw new Error("not listed");
    };
    assert.throws(() => memory.list(fails), /not listed/);
    const x = memory.place(new Float32Array(16).fill(1));
    memory.nativeJob("add", { x, y: x, width: 16 }).run(1);
    assert.equal(memory.floats[x / 4], 2);
  });
});
