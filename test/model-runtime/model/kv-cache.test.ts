import assert from "node:assert/strict";
import fc from "fast-check";
import type { TransformerConfig } from "../../../model-runtime/checkpoint/config";
import { HIDDEN_SCORE, KvCache, type RowView, slack } from "../../../model-runtime/model/kv-cache";
import type { Feeds } from "../../../model-runtime/session";

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

/** The positions and the rows of its run that each row sees, read back from mask and data. */
function seenInFeeds({ mask, pastKeys0, cos, sin }: Feeds) {
  const [count, columns] = mask.shape;
  const slots = columns - count;
  return range(0, count).map((row) => {
    const line = (mask.data as Float32Array).subarray(row * columns, (row + 1) * columns);
    const past = range(0, slots).filter((slot) => line[slot] === 0);
    return {
      past: past.map((slot) => (pastKeys0.data[slot * HEAD_DIM] as number) / 1000),
      rows: range(0, count).filter((other) => line[slots + other] === 0),
      rotation: { cos: lineOf(cos, row), sin: lineOf(sin, row) },
    };
  });
}

function lineOf({ data, shape: [, width] }: Feeds[string], row: number): number[] {
  return [...(data as Float32Array).subarray(row * width, (row + 1) * width)];
}

/** The same of views. */
function seenInViews(views: readonly RowView[]) {
  return views.map(({ from, to, rows, rotation: { cos, sin } }) => ({
    past: range(from, to),
    rows: [...rows],
    rotation: { cos: [...cos], sin: [...sin] },
  }));
}

/** Parts of one; `fc.double` gives numbers of any size, most of them next to nothing. */
const share = fc.nat(999).map((number) => number / 1000);

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
    assert.deepEqual(
      seenInFeeds(cache.feeds(3, null)).map(({ past, rows }) => [...past, ...rows.map((each) => 4 + each)]),
      [
        [2, 3, 4],
        [3, 4, 5],
        [4, 5, 6],
      ],
    );
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
      keep: share,
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const isRoomy = steps.length % 2 === 0;
        const cache = new KvCache(config(window), undefined, isRoomy);
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

  for (const isRoomy of [false, true])
    it(`holds a windowed network in bounded memory${isRoomy ? ", with more room" : ""}`, () => {
      const cache = new KvCache(config(16), undefined, isRoomy);
      append(cache, 100);
      const after100 = cache.byteLength;
      for (let i = 0; i < 2000; i++) append(cache, 1);
      assert.ok(cache.byteLength <= after100, `${cache.byteLength} bytes after 2,100 rows, ${after100} after 100`);
    });

  it("makes room at once where empty slots cost nothing, and elsewhere none", () => {
    const [plain, roomy] = [false, true].map((isRoomy) => new KvCache(config(null), undefined, isRoomy));
    const before = plain.byteLength;
    for (const cache of [plain, roomy]) cache.reserve(1000);
    assert.ok(plain.byteLength === before && roomy.byteLength > before);
    const reserved = roomy.byteLength;
    for (let i = 0; i < 10; i++) append(roomy, 100);
    assert.equal(roomy.byteLength, reserved);
    assert.deepEqual(visible(roomy), range(0, 1000));
  });

  it("says how many layers of a row those that are wanted can see", () => {
    const window = 33;
    const cache = new KvCache(config(window));
    const wanted = 500;
    const spare = slack(window);
    for (let position = 0; position < 520; position++) {
      // Keys and values of the last layer are needed within the window of what is wanted or may be taken back to, those of the layer
      // below within one more.
      const isSeen = (layer: number) => position >= wanted - spare - (LAYERS - layer) * (window - 1);
      let expected = 0;
      while (expected < LAYERS - 1 && isSeen(expected + 1)) expected++;
      if (position >= wanted) expected = LAYERS;
      assert.equal(cache.layersSeen(position, wanted), expected, `position ${position}`);
    }
    assert.equal(new KvCache(config(null)).layersSeen(0, wanted), LAYERS);
  });

  it("shows no rows of which something was left out, once all are run", () => {
    const window = 16;
    const cache = new KvCache(config(window));
    append(cache, 5);
    cache.wantFrom(300);
    append(cache, 295);
    cache.rebuilt();
    assert.deepEqual(visible(cache), range(300 - window + 1, 300));
    assert.equal(cache.truncate(300 - slack(window)), 300 - slack(window));
    // Further back than the slack, what it would show has to be run again.
    assert.ok(cache.truncate(300 - slack(window) - 40) < 300 - slack(window) - 40);
  });

  it("says in views what masks and rotations say, of rows in a chain", () => {
    const step = fc.record({
      append: fc.integer({ min: 0, max: 90 }),
      keep: share,
      skip: fc.boolean(),
      /** Of the rows that come next: how far behind them each may look. */
      sights: fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 5 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), fc.constantFrom(null, 1, 5, 40), (steps, window) => {
        const cache = new KvCache(config(window));
        for (const { append: count, keep, skip, sights } of steps) {
          if (skip) cache.skipTo(cache.length + count);
          append(cache, count);
          cache.truncate(Math.floor(keep * cache.length));
          const floors = sights.map((sight, row) => Math.max(0, cache.length + row - sight));
          for (const given of [null, floors])
            assert.deepEqual(
              seenInViews(cache.views(sights.length, given)),
              seenInFeeds(cache.feeds(sights.length, given)),
            );
        }
      }),
      { numRuns: 200 },
    );
  });

  it("says in views what masks and rotations say, of rows in a tree", () => {
    const parent = fc.tuple(fc.boolean(), fc.nat(10 ** 6));
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 90 }),
        fc.array(parent, { minLength: 1, maxLength: 8 }),
        (length, draws) => {
          const cache = new KvCache(config(null));
          append(cache, length);
          const parents = draws.map(([onRow, number], row) =>
            onRow && row > 0 ? number % row : -1 - (number % (length + 1)),
          );
          assert.deepEqual(seenInViews(cache.treeViews(parents)), seenInFeeds(cache.treeFeeds(parents)));
        },
      ),
    );
  });

  it("appends the first rows of a run only, where others are branches", () => {
    const [cache, expected] = [new KvCache(config(null)), new KvCache(config(null))];
    for (const each of [cache, expected]) append(each, 3);
    const rows = range(0, 5).map((i) => row(3 + i));
    const run = (count: number) =>
      Float32Array.from(
        range(0, LAYERS * 2 * KV_HEADS).flatMap((block) =>
          rows.slice(0, count).flatMap((values) => values.slice(block * HEAD_DIM, (block + 1) * HEAD_DIM)),
        ),
      );
    cache.append(run(5), 2, 5);
    expected.append(run(2), 2);
    assert.deepEqual(cache.feeds(1, null), expected.feeds(1, null));
    cache.append(run(5), 0, 5);
    assert.equal(cache.length, 5);
  });

  for (const window of [null, 1, 5, 40])
    it(`gives rows names that stay with their values, the same in all copies and no others: window ${window}`, () => {
      const step = fc.record({
        cache: fc.nat(2),
        kind: fc.constantFrom(
          "append",
          "append",
          "append",
          "append",
          "append",
          "truncate",
          "fork",
          "forkFirst",
          "skip",
          "rebuilt",
        ),
        amount: share,
      });
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 40, size: "max" }), (steps) => {
          /** What each cache was given, by position. */
          const made = [0, 1, 2].map(() => ({ cache: new KvCache(config(window)), given: [] as Given[] }));
          const all = new Set<number>();
          let appended = 0;
          for (const { cache: which, kind, amount } of steps) {
            const { cache, given } = made[which];
            if (kind === "append") {
              const [from, count] = [cache.length, 1 + Math.floor(amount ** 2 * 110)];
              const first = appended;
              appended += count;
              const values = range(0, ROW / HEAD_DIM).flatMap((block) =>
                range(first, appended).flatMap((each) => new Array(HEAD_DIM).fill(each * 100 + block)),
              );
              cache.append(Float32Array.from(values), count);
              for (let position = from; position < cache.length; position++) {
                const name = cache.nameOf(position)!;
                assert.ok(!all.has(name), `row at ${position} has the name of another one`);
                all.add(name);
                given[position] = { name, value: first + position - from };
              }
            } else if (kind === "truncate") cache.truncate(Math.ceil((1 - amount ** 3) * cache.length));
            else if (kind === "skip") cache.skipTo(cache.length + Math.floor(amount * 400));
            else if (kind === "rebuilt") cache.rebuilt();
            else if (kind === "fork") made[(which + 1) % 3] = { cache: cache.fork(), given: given.slice() };
            else if (window === null) {
              const length = Math.floor(amount * (cache.length + 1));
              made[(which + 1) % 3] = { cache: cache.forkFirst(length), given: given.slice(0, length) };
            }
            for (const each of made) {
              each.given.length = each.cache.length;
              check(each.cache, each.given);
            }
          }
        }),
        { numRuns: 100 },
      );
    });

  interface Given {
    name: number;
    value: number;
  }

  /** Compares what can be seen with what was given. */
  function check(cache: KvCache, given: readonly Given[]): void {
    const { from, to } = cache.views(1, null)[0];
    assert.equal(to, cache.length);
    assert.equal(cache.nameOf(-1), undefined);
    for (let position = from; position < to; position++)
      assert.equal(cache.nameOf(position), given[position].name, `name of the row at ${position}`);
    for (let layer = 0; layer < LAYERS; layer++)
      for (let head = 0; head < KV_HEADS; head++) {
        const { keys, values } = cache.rowsOf(layer, head, from, to);
        assert.deepEqual([keys.length, values.length], new Array(2).fill((to - from) * HEAD_DIM));
        for (const [kind, rows] of [keys, values].entries())
          for (let i = 0; i < rows.length; i++) {
            const block = (2 * layer + kind) * KV_HEADS + head;
            assert.equal(rows[i], given[from + Math.floor(i / HEAD_DIM)].value * 100 + block);
          }
      }
  }
});
