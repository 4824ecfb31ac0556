import assert from "node:assert/strict";
import fc from "fast-check";
import type { TransformerConfig } from "../../../model-runtime/checkpoint/config";
import { HIDDEN_SCORE, KvCache } from "../../../model-runtime/model/kv-cache";

const LAYERS = 2;
const KV_HEADS = 2;
const HEAD_DIM = 4;
const ROW = LAYERS * 2 * KV_HEADS * HEAD_DIM;

function config(window: number | null): TransformerConfig {
  return {
    hiddenSize: 16,
    layers: LAYERS,
    heads: 4,
    kvHeads: KV_HEADS,
    headDim: HEAD_DIM,
    intermediateSize: 8,
    ropeTheta: 10000,
    normEps: 1e-5,
    window,
  };
}

/** A row whose every value names its position and column. */
function row(position: number): number[] {
  return Array.from({ length: ROW }, (_, column) => position * 1000 + column);
}

function append(cache: KvCache, count: number): void {
  const blocks: number[] = [];
  for (let block = 0; block < LAYERS * 2 * KV_HEADS; block++)
    for (let i = 0; i < count; i++)
      blocks.push(...row(cache.length + i).slice(block * HEAD_DIM, (block + 1) * HEAD_DIM));
  cache.append(Float32Array.from(blocks), count);
}

/** The positions that the next row sees, read back from mask and data, in order; checks every value on the way. */
function visible(cache: KvCache, floor = 0): number[] {
  const feeds = cache.feeds(1, [floor]);
  const slots = feeds.pastKeys0.shape[2];
  const mask = feeds.mask.data as Float32Array;
  const positions: number[] = [];
  for (let slot = 0; slot < slots; slot++) {
    assert.ok(mask[slot] === 0 || mask[slot] === Math.fround(HIDDEN_SCORE));
    if (mask[slot] !== 0) continue;
    const position = Math.floor(feeds.pastKeys0.data[slot * HEAD_DIM] as number) / 1000;
    positions.push(position);
    const expected = row(position);
    for (let layer = 0, column = 0; layer < LAYERS; layer++)
      for (const part of ["Keys", "Values"])
        for (let head = 0; head < KV_HEADS; head++)
          for (let d = 0; d < HEAD_DIM; d++, column++)
            assert.equal(feeds[`past${part}${layer}`].data[(head * slots + slot) * HEAD_DIM + d], expected[column]);
  }
  assert.equal(mask[slots], 0, "a row sees itself");
  return positions;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}

describe("KvCache", () => {
  it("shows all positions without a window", () => {
    const cache = new KvCache(config(null));
    for (const count of [1, 5, 200, 1, 64]) append(cache, count);
    assert.deepEqual(visible(cache), range(0, 271));
    cache.truncate(100);
    assert.deepEqual(visible(cache), range(0, 100));
    append(cache, 3);
    assert.deepEqual(visible(cache), range(0, 103));
  });

  it("hides what lies before a row's floor", () => {
    const cache = new KvCache(config(null));
    append(cache, 10);
    assert.deepEqual(visible(cache, 7), [7, 8, 9]);
  });

  it("gives each row of a chunk its own window over past and chunk", () => {
    const cache = new KvCache(config(3));
    append(cache, 4);
    const { mask, pastKeys0 } = cache.feeds(3, null);
    const slots = pastKeys0.shape[2];
    const seen = range(0, 3).map((query) => {
      const line = Array.from(mask.data as Float32Array).slice(query * (slots + 3), (query + 1) * (slots + 3));
      return line.flatMap((score, column) => (score === 0 ? [column < slots ? column : column - slots + 4] : []));
    });
    assert.deepEqual(seen, [
      [2, 3, 4],
      [3, 4, 5],
      [4, 5, 6],
    ]);
  });

  it("a fork goes its own way", () => {
    const cache = new KvCache(config(4));
    append(cache, 6);
    const copy = cache.fork();
    append(cache, 50);
    assert.deepEqual(visible(copy), [3, 4, 5]);
    append(copy, 1);
    assert.deepEqual(visible(copy), [4, 5, 6]);
  });

  it("after any appends and truncations shows the window, running again only what it says", () => {
    const window = 5;
    const step = fc.record({
      append: fc.integer({ min: 1, max: 120 }),
      keep: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const cache = new KvCache(config(window));
        let length = 0;
        for (const { append: count, keep } of steps) {
          append(cache, count);
          length += count;
          assert.deepEqual(visible(cache), range(Math.max(0, length - window + 1), length));
          length = Math.floor(keep * length);
          const restart = cache.truncate(length);
          assert.equal(cache.length, restart);
          // Nothing that the rows to be run again can reach lies before the restart, unless it is the beginning.
          assert.ok(restart === length || restart === 0 || length - restart >= LAYERS * (window - 1));
          if (restart < length) append(cache, length - restart);
          cache.rebuilt();
          assert.deepEqual(visible(cache), range(Math.max(0, length - window + 1), length));
        }
      }),
      { numRuns: 300, seed: 5 },
    );
  });

  it("holds a windowed network in bounded memory", () => {
    const cache = new KvCache(config(16));
    append(cache, 100);
    const after100 = cache.byteLength;
    for (let i = 0; i < 2000; i++) append(cache, 1);
    assert.ok(cache.byteLength <= after100, `${cache.byteLength} bytes after 2,100 rows, ${after100} after 100`);
  });
});
