import assert from "node:assert/strict";
import fc from "fast-check";
import { KEY_TILE, VALUE_STRIP } from "../../../model-runtime/kernels/attention";
import { ACTIVATION_BYTES, BLOCK_INPUTS, packedBlocks } from "../../../model-runtime/kernels/blocks";
import { jobArguments, jobNames } from "../../../model-runtime/kernels/jobs";
import { PAGE_BYTES } from "../../../model-runtime/kernels/products";
import { type Job, RowMemory } from "../../../model-runtime/kernels/row-kernels";

/** A job that is ready to be run, and how many parts it has. */
interface Ready {
  memory: RowMemory;
  name: (typeof jobNames)[number];
  job: Pick<Job<never>, "values" | "run">;
  parts: number;
}

type JobFunction = (values: number, first: number, count: number) => void;

/** Does so many parts, one call after the other. */
function run({ memory, name, job }: Ready, counts: readonly (readonly [first: number, count: number])[]): void {
  const exports = memory.kernels as unknown as Record<string, JobFunction>;
  for (const [first, count] of counts) exports[name](job.values.byteOffset, first, count);
}

const size = (max: number) => fc.integer({ min: 1, max });

/** Any bytes, and float32 of any size up to 1. */
function filler(memory: RowMemory, seed: number) {
  let state = seed >>> 0;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    floats: (count: number) => memory.place(Float32Array.from({ length: count }, () => 2 * random() - 1)),
    bytes: (count: number) => {
      const at = memory.allocate(count, PAGE_BYTES);
      memory.bytes(at, count).set(Uint8Array.from({ length: count }, () => 256 * random()));
      return at;
    },
  };
}

const products = fc.record({
  rows: size(4),
  groups: size(30),
  groupsOfPart: size(7),
  vectors: size(6),
  seed: fc.nat(),
});

const multiplyBlocks = products.map(({ rows, groups, groupsOfPart, vectors: blocks, seed }): Ready => {
  const memory = RowMemory.create()!;
  const { floats, bytes } = filler(memory, seed);
  const outputs = 4 * groups;
  const { streamBytes } = packedBlocks(outputs, blocks * BLOCK_INPUTS);
  const x = memory.allocate(rows * blocks * ACTIVATION_BYTES);
  for (let row = 0; row < rows; row++) {
    const inputs = blocks * BLOCK_INPUTS;
    memory.kernels.quantizeBlocks(floats(inputs), x + row * blocks * ACTIVATION_BYTES, inputs);
  }
  const job = memory.job("multiplyBlocks", {
    x,
    rows,
    weights: bytes(4 * streamBytes),
    streamBytes,
    scales: floats(outputs * blocks),
    out: memory.allocateFloats(rows * (outputs + 4)),
    outBytes: 4 * (outputs + 4),
    blocks,
    groups: groupsOfPart,
    allGroups: groups,
  });
  return { memory, name: "multiplyBlocks", job, parts: Math.ceil(groups / groupsOfPart) };
});

const multiplyIntegers = products.map(({ rows, groups, groupsOfPart, vectors, seed }): Ready => {
  const memory = RowMemory.create()!;
  const { floats, bytes } = filler(memory, seed);
  const [inputs, outputs] = [16 * vectors, 4 * groups];
  const streamBytes = Math.ceil((groups * inputs) / PAGE_BYTES) * PAGE_BYTES;
  const integers = memory.allocate(2 * rows * inputs);
  for (let row = 0; row < rows; row++)
    memory.kernels.quantize(floats(inputs), integers + 2 * row * inputs, inputs, 1 / 127);
  const job = memory.job("multiplyIntegers", {
    integers,
    largest: floats(rows),
    rows,
    weights: bytes(4 * streamBytes),
    streamBytes,
    scales: floats(outputs),
    out: memory.allocateFloats(rows * (outputs + 4)),
    outBytes: 4 * (outputs + 4),
    inputs,
    groups: groupsOfPart,
    allGroups: groups,
  });
  return { memory, name: "multiplyIntegers", job, parts: Math.ceil(groups / groupsOfPart) };
});

const attention = fc.record({
  rows: size(3),
  keyHeads: size(3),
  together: size(5),
  vectors: size(4),
  tiles: size(7),
  spare: fc.nat({ max: 2 }),
  stretchTiles: size(4),
  seed: fc.nat(),
});

const [score, soften, sum] = (["score", "soften", "sum"] as const).map((name) =>
  attention.map(({ rows, keyHeads, together, vectors, tiles, spare, stretchTiles, seed }): Ready => {
    const memory = RowMemory.create()!;
    const { floats } = filler(memory, seed);
    const headDim = VALUE_STRIP * vectors;
    const positions = KEY_TILE * tiles;
    const slots = positions + KEY_TILE * spare;
    const heads = keyHeads * together;
    const stretch = KEY_TILE * stretchTiles;
    const stretches = Math.ceil(positions / stretch);
    const shared = {
      scores: floats(rows * heads * slots),
      scoreBytes: 4 * slots,
      positions,
      factors: floats(rows * heads),
    };
    const ofHeads = { headBytes: 4 * slots * headDim, keyHeads, together, headDim };
    const readied = {
      score: () => ({
        parts: rows * keyHeads * stretches,
        job: memory.job("score", {
          ...shared,
          ...ofHeads,
          queries: floats(rows * heads * headDim),
          queryBytes: 4 * heads * headDim,
          keys: floats(keyHeads * slots * headDim),
          mask: floats(rows * slots),
          stretches,
          stretch,
        }),
      }),
      soften: () => ({ parts: rows * heads, job: memory.job("soften", shared) }),
      sum: () => ({
        parts: rows * keyHeads * vectors,
        job: memory.job("sum", {
          ...shared,
          ...ofHeads,
          values: floats(keyHeads * slots * headDim),
          out: memory.allocateFloats(rows * (heads * headDim + 4)),
          outBytes: 4 * (heads * headDim + 4),
          slots,
          strips: vectors,
        }),
      }),
    }[name]();
    return { memory, name, ...readied };
  }),
);

describe("jobs", () => {
  it("have the places that their arguments are listed at", () => {
    assert.deepEqual(jobNames, Object.keys(jobArguments));
  });

  for (const [name, ready] of Object.entries({ multiplyBlocks, multiplyIntegers, score, soften, sum })) {
    const partition = fc.record({ cuts: fc.array(fc.nat(), { maxLength: 6 }), isBackwards: fc.boolean() });

    it(`${name} gives the same bits in one call as in parts, in any order`, () => {
      fc.assert(
        fc.property(ready, partition, (job, { cuts, isBackwards }) => {
          const { memory, parts } = job;
          const all = memory.bytes(0, memory.byteLength);
          const before = all.slice();
          run(job, [[0, parts]]);
          const expected = all.slice();
          assert.notDeepEqual(expected, before);

          const ends = [0, ...cuts.map((cut) => cut % (parts + 1)), parts].sort((a, b) => a - b);
          const pieces = ends.slice(1).map((end, i) => [ends[i], end - ends[i]] as const);
          for (const counts of [isBackwards ? pieces.reverse() : pieces, single(parts)]) {
            all.set(before);
            run(job, counts);
            assert.ok(Buffer.compare(all, expected) === 0);
          }
        }),
      );
    });

    it(`${name} does no more than its parts`, () => {
      fc.assert(
        fc.property(ready, fc.nat(), (job, place) => {
          const { memory, parts } = job;
          const all = memory.bytes(0, memory.byteLength);
          const before = all.slice();
          const first = place % parts;
          run(job, [[first, 1]]);
          const byPart = all.slice();
          all.set(before);
          run(job, [[first, 0]]);
          assert.ok(Buffer.compare(all, before) === 0, "no part at all");
          // What it writes no other part does.
          run(job, [
            [0, first],
            [first + 1, parts - first - 1],
          ]);
          let touchedTwice = 0;
          for (let i = 0; i < all.length; i++) if (all[i] !== before[i] && byPart[i] !== before[i]) touchedTwice++;
          assert.equal(touchedTwice, 0);
        }),
      );
    });
  }
});

function single(parts: number): (readonly [number, number])[] {
  return Array.from({ length: parts }, (_, part) => [part, 1] as const);
}
