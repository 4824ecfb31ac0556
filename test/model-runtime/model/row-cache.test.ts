import assert from "node:assert/strict";
import fc from "fast-check";
import type { TransformerConfig } from "../../../model-runtime/checkpoint/config";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import { KvCache, type RowView } from "../../../model-runtime/model/kv-cache";
import { RowCache } from "../../../model-runtime/model/row-cache";

const [LAYERS, KV_HEADS, HEAD_DIM] = [2, 2, 16];
const BLOCKS = LAYERS * 2 * KV_HEADS;
const MOST = 4;

function config(window: number | null): TransformerConfig {
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

/** Every row has a number, and of its keys and values all are different, none is zero, and no other row has any of them. */
let rowsMade = 0;
const valueIn = (row: number, block: number, channel: number) =>
  row * BLOCKS * HEAD_DIM + block * HEAD_DIM + channel + 1;
const rowOf = (value: number) => Math.floor((value - 1) / (BLOCKS * HEAD_DIM));

/** Numbers of new rows. */
function newRows(count: number): number[] {
  return Array.from({ length: count }, () => rowsMade++ % 2 ** 17);
}

/** Keys and values [L, 2, K, N, D] of rows. */
function keysAndValues(rows: readonly number[]): Float32Array {
  const values = new Float32Array(BLOCKS * rows.length * HEAD_DIM);
  for (let block = 0, at = 0; block < BLOCKS; block++)
    for (const row of rows)
      for (let channel = 0; channel < HEAD_DIM; channel++, at++) values[at] = valueIn(row, block, channel);
  return values;
}

/** A text's cache, and the rows that it was given by position. */
interface Text {
  cache: KvCache;
  rows: number[];
}

function append({ cache, rows }: Text, count: number): void {
  const added = newRows(count);
  cache.append(keysAndValues(added), count);
  rows.push(...added);
}

describe("RowCache", () => {
  /** The row that lies in a slot, of which all layers' keys and values must be; null where there are zeros. */
  function rowIn(copy: RowCache, { floats }: RowMemory, slot: number): number | null {
    const tile = (slot - (slot % 16)) * HEAD_DIM + (slot % 16);
    const first = floats[copy.keysOf(0, 0) / 4 + tile];
    const row = first === 0 ? null : rowOf(first);
    for (let layer = 0, block = 0; layer < LAYERS; layer++)
      for (const kind of ["keys", "values"])
        for (let head = 0; head < KV_HEADS; head++, block++)
          for (let channel = 0; channel < HEAD_DIM; channel++) {
            // A head is one strip wide.
            const found =
              kind === "keys"
                ? floats[copy.keysOf(layer, head) / 4 + tile + 16 * channel]
                : floats[copy.valuesOf(layer, head) / 4 + slot * HEAD_DIM + channel];
            const expected = row === null ? 0 : valueIn(row, block, channel);
            if (found !== expected)
              assert.fail(
                `${kind} ${channel} in slot ${slot}, layer ${layer}, head ${head}: ${found}, not ${expected}`,
              );
          }
    return row;
  }

  /** Runs rows of a text through a copy, and compares what they can see with what the text was given. */
  function run(copy: RowCache, memory: RowMemory, text: Text, views: readonly RowView[], kept = views.length): void {
    const { cache, rows } = text;
    const count = views.length;
    const added = newRows(count);
    copy.follow(cache, views);
    const width = KV_HEADS * HEAD_DIM;
    added.forEach((each, row) => {
      const values = keysAndValues([each]);
      for (let layer = 0; layer < LAYERS; layer++) {
        // Keys, then values.
        memory.floats.set(values.subarray(2 * layer * width, 2 * (layer + 1) * width), room(memory) / 4);
        copy.put(layer, row, room(memory), room(memory) + 4 * width);
      }
    });

    assert.ok(copy.slotsInUse % 16 === 0 && copy.slotsInUse <= copy.slots);
    const held = Array.from({ length: copy.slotsInUse }, (_, slot) => rowIn(copy, memory, slot));
    const seen = new Set<number>();
    views.forEach((view, row) => {
      const start = copy.mask / 4 + row * copy.slots;
      const mask = memory.floats.subarray(start, start + copy.slotsInUse);
      const visible = held.flatMap((each, slot) => (mask[slot] === 0 ? { each, slot } : []));
      const expected = [...rows.slice(view.from, view.to), ...view.rows.map((each) => added[each])];
      assert.deepEqual(visible.map(({ each }) => each).sort(), expected.sort(), `row ${row} behind ${cache.length}`);
      for (const { slot } of visible) seen.add(slot);
    });
    // What no row sees is multiplied by zero, which is no number where that is infinite.
    const own = new Set([...rows, ...added]);
    held.forEach((row, slot) => {
      assert.ok(
        seen.has(slot) || row === null || own.has(row),
        `row ${row} of another text in slot ${slot}, which no row behind ${cache.length} sees`,
      );
    });
    copy.append(cache, keysAndValues(added), kept, count);
    rows.push(...added.slice(0, kept));
  }

  const rooms = new WeakMap<RowMemory, number>();
  /** Address of room for a row's keys and values in one layer. */
  function room(memory: RowMemory): number {
    const at = rooms.get(memory) ?? memory.allocateFloats(2 * KV_HEADS * HEAD_DIM);
    rooms.set(memory, at);
    return at;
  }

  const share = fc.nat(999).map((number) => number / 1000);
  const kinds = ["long", "run", "run", "run", "run", "tree", "truncate", "replace", "skip", "fork", "floor", "rebuilt"];
  const step = fc.record({
    text: fc.constantFrom(0, 0, 0, 1, 2),
    kind: fc.constantFrom(...kinds),
    amount: share,
    count: fc.integer({ min: 1, max: MOST }),
    parents: fc.array(fc.tuple(fc.boolean(), share), { minLength: MOST, maxLength: MOST }),
  });
  type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

  for (const window of [1, 5, 16, 40, 70, null])
    it(`holds what the next rows see and nothing of other texts, however several texts change in turn: window ${window}`, () => {
      const steps = fc.array(step, { minLength: 1, maxLength: 50, size: "max" });
      fc.assert(
        fc.property(steps, fc.constantFrom(1, MOST), (done, most) => {
          const memory = RowMemory.create()!;
          const copy = new RowCache(memory, config(window), most);
          const texts = [0, 1, 2].map((): Text => ({ cache: new KvCache(config(window)), rows: [] }));
          const floors = [0, 0, 0];
          for (const { text: which, kind, amount, ...rest } of done) {
            const text = texts[which];
            const { cache } = text;
            const count = Math.min(rest.count, most);
            if (kind === "long") append(text, 1 + Math.floor(amount ** 2 * 150));
            else if (kind === "truncate") cache.truncate(Math.floor((1 - amount ** 3) * cache.length));
            else if (kind === "replace") {
              text.rows.length = cache.truncate(Math.max(0, cache.length - count));
              append(text, count + Math.floor(amount * 12));
            } else if (kind === "skip") cache.skipTo(cache.length + Math.floor(amount * 600));
            else if (kind === "fork") texts[(which + 1) % 3] = forked(text, amount, window);
            else if (kind === "floor") floors[which] = cache.length - Math.floor(amount ** 2 * 60);
            else if (kind === "rebuilt") cache.rebuilt();
            else if (kind === "tree" && window === null) {
              const kept = Math.floor(amount * count);
              run(copy, memory, text, cache.treeViews(treeOf(rest.parents.slice(0, count), kept, cache.length)), kept);
            } else {
              const floor = Math.max(0, Math.min(floors[which], cache.length));
              run(copy, memory, text, cache.views(count, new Array(count).fill(floor)));
            }
            text.rows.length = cache.length;
          }
          for (const text of texts) run(copy, memory, text, text.cache.views(1, null));
        }),
        { numRuns: 200 },
      );
    });

  /** Parents of rows, the first `kept` of which go on the text of this length; the others branch off from anywhere. */
  function treeOf(parents: Step["parents"], kept: number, length: number): number[] {
    return parents.map(([isOnRow, part], row) => {
      if (row < kept) return row === 0 ? -1 - length : row - 1;
      return isOnRow && row > 0 ? Math.floor(part * row) : -1 - Math.floor(part * (length + 1));
    });
  }

  function forked({ cache, rows }: Text, amount: number, window: number | null): Text {
    if (window !== null || amount < 0.5) return { cache: cache.fork(), rows: [...rows] };
    const length = Math.floor((2 * amount - 1) * (cache.length + 1));
    return { cache: cache.forkFirst(length), rows: rows.slice(0, length) };
  }

  describe("copies", () => {
    const { rowsOf } = KvCache.prototype;
    let read = 0;
    beforeEach(() => {
      read = 0;
      KvCache.prototype.rowsOf = function (this: KvCache, layer, head, from, to) {
        read += (to - from) / (LAYERS * KV_HEADS);
        return rowsOf.call(this, layer, head, from, to);
      };
    });
    afterEach(() => {
      KvCache.prototype.rowsOf = rowsOf;
    });

    /** How many rows are copied when so many are run. */
    function copied(copy: RowCache, memory: RowMemory, text: Text, count = 1): number {
      const before = read;
      run(copy, memory, text, text.cache.views(count, null));
      return read - before;
    }

    for (const window of [16, null])
      it(`a row once, and those that it has run never: window ${window}`, () => {
        const memory = RowMemory.create()!;
        const copy = new RowCache(memory, config(window), MOST);
        const text: Text = { cache: new KvCache(config(window)), rows: [] };
        append(text, 10);
        assert.equal(copied(copy, memory, text), 10);
        for (let i = 0; i < 100; i++) assert.equal(copied(copy, memory, text, 1 + (i % MOST)), 0);
        append(text, 3);
        assert.equal(copied(copy, memory, text), 3);
        text.rows.length = text.cache.truncate(text.cache.length - 2);
        assert.equal(copied(copy, memory, text), 0);
      });

    for (const window of [40, null])
      it(`nothing that texts forked from one another share: window ${window}`, () => {
        const memory = RowMemory.create()!;
        const copy = new RowCache(memory, config(window), MOST);
        const text: Text = { cache: new KvCache(config(window)), rows: [] };
        append(text, 30);
        assert.equal(copied(copy, memory, text), 30);
        const copies = [
          { cache: text.cache.fork(), rows: [...text.rows] },
          window === null
            ? { cache: text.cache.forkFirst(20), rows: text.rows.slice(0, 20) }
            : { cache: text.cache.fork(), rows: [...text.rows] },
        ];
        append(copies[0], 3);
        assert.equal(copied(copy, memory, copies[0]), 3);
        assert.equal(copied(copy, memory, copies[1], 2), 0);
        // The shorter copy's two rows lie where the text has some of its own, and nothing is left behind them in their tile.
        assert.equal(copied(copy, memory, text), window === null ? 11 : 0);
        assert.equal(copied(copy, memory, text), 0);
      });
  });

  it("has room for so many positions of a network without a window, and for all of one with a window", () => {
    const memory = RowMemory.create()!;
    const [windowed, whole] = [16, null].map((window) => new RowCache(memory, config(window), MOST));
    const cache = (window: number | null, length: number) => Object.assign(new KvCache(config(window)), { length });
    assert.deepEqual(
      [0, whole.slots - 3, whole.slots - 2, whole.slots].map((length) => whole.hasRoomFor(cache(null, length), 3)),
      [true, true, false, false],
    );
    assert.equal(windowed.hasRoomFor(cache(16, 10 ** 6), MOST), true);
  });
});
