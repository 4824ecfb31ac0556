import assert from "node:assert/strict";
import fc from "fast-check";
import type { TransformerConfig } from "../../../model-runtime/checkpoint/config";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { KvCache } from "../../../model-runtime/model/kv-cache";
import { RowCache } from "../../../model-runtime/model/row-cache";

const [LAYERS, KV_HEADS, HEAD_DIM] = [2, 2, 16];

function config(window: number): TransformerConfig {
  return {
    hiddenSize: 64,
    layers: LAYERS,
    heads: 4,
    kvHeads: KV_HEADS,
    headDim: HEAD_DIM,
    intermediateSize: 16,
    ropeTheta: 10000,
    normEps: 1e-5,
    window,
  };
}

let written = 0;
/** Values [L, 2, K, N, D] that no other row has. */
function rows(count: number): Float32Array {
  return Float32Array.from({ length: LAYERS * 2 * KV_HEADS * count * HEAD_DIM }, () => written++ % 2 ** 24);
}

/** Follows the cache and compares all that its next row may see with what the cache holds. */
function check(copy: RowCache, memory: RowMemory, cache: KvCache, floor: number): void {
  copy.follow(cache, floor);
  const { floats } = memory;
  const [lowest, next] = [cache.firstVisible(floor), cache.length];
  const visible = new Set(Array.from({ length: next + 1 - lowest }, (_, i) => (lowest + i) % copy.slots));
  assert.ok(copy.slotsInUse % 16 === 0 && copy.slotsInUse <= copy.slots);
  for (let slot = 0; slot < copy.slotsInUse; slot++)
    assert.equal(floats[copy.mask / 4 + slot] === 0, visible.has(slot), `slot ${slot} of a row at ${next}`);
  assert.ok([...visible].every((slot) => slot < copy.slotsInUse));
  for (let layer = 0; layer < LAYERS; layer++)
    for (let head = 0; head < KV_HEADS; head++) {
      const held = cache.rowsOf(layer, head, lowest, next);
      for (let position = lowest; position < next; position++) {
        const slot = position % copy.slots;
        const key = copy.keysOf(layer, head) / 4 + (slot - (slot % 16)) * HEAD_DIM + (slot % 16);
        // A head is one strip wide.
        const value = copy.valuesOf(layer, head) / 4 + slot * HEAD_DIM;
        for (let d = 0; d < HEAD_DIM; d++) {
          const at = (position - lowest) * HEAD_DIM + d;
          assert.equal(floats[key + 16 * d], held.keys[at], `key ${position} of a row at ${next}`);
          assert.equal(floats[value + d], held.values[at], `value ${position} of a row at ${next}`);
        }
      }
    }
}

/** Runs a row of unique values through the copy. */
function runRow(copy: RowCache, cache: KvCache): void {
  const row = rows(1);
  const width = KV_HEADS * HEAD_DIM;
  for (let layer = 0; layer < LAYERS; layer++) {
    const at = 2 * layer * width;
    copy.put(layer, row.subarray(at, at + width), row.subarray(at + width, at + 2 * width));
  }
  copy.append(cache, row);
}

describe("RowCache", () => {
  it("holds what the next row sees, whatever was appended, taken back, left out or forked, of several caches in turn", () => {
    const step = fc.record({
      cache: fc.nat(2),
      kind: fc.constantFrom("rows", "row", "row", "truncate", "skip", "fork", "floor", "rebuilt"),
      amount: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    });
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 60 }),
        fc.constantFrom(1, 5, 16, 40, 70),
        (steps, window) => {
          const memory = RowMemory.create()!;
          const copy = new RowCache(memory, config(window));
          const caches = [0, 1, 2].map(() => new KvCache(config(window)));
          const floors = [0, 0, 0];
          for (const { cache: which, kind, amount } of steps) {
            const cache = caches[which];
            const count = 1 + Math.floor(amount * 150);
            if (kind === "rows") cache.append(rows(count), count);
            else if (kind === "truncate") cache.truncate(Math.floor(amount * cache.length));
            else if (kind === "skip") cache.skipTo(cache.length + 4 * count);
            else if (kind === "fork") caches[(which + 1) % 3] = cache.fork();
            else if (kind === "floor") floors[which] = cache.length - Math.floor(amount * window);
            else if (kind === "rebuilt") cache.rebuilt();
            else {
              const floor = Math.max(0, Math.min(floors[which], cache.length));
              check(copy, memory, cache, floor);
              runRow(copy, cache);
            }
          }
          for (const cache of caches) check(copy, memory, cache, 0);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("copies a row once: rows that it has seen are not read again", () => {
    const memory = RowMemory.create()!;
    const copy = new RowCache(memory, config(16));
    const cache = new KvCache(config(16));
    let read = 0;
    const { rowsOf } = cache;
    cache.rowsOf = (layer, head, from, to) => {
      read += to - from;
      return rowsOf.call(cache, layer, head, from, to);
    };
    cache.append(rows(10), 10);
    for (let i = 0; i < 100; i++) {
      copy.follow(cache, 0);
      runRow(copy, cache);
    }
    assert.equal(read, 10 * LAYERS * KV_HEADS);
    cache.append(rows(3), 3);
    copy.follow(cache, 0);
    cache.truncate(cache.length - 2);
    copy.follow(cache, 0);
    assert.equal(read, 13 * LAYERS * KV_HEADS);
  });
});
