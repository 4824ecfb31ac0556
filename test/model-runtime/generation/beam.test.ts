import assert from "node:assert/strict";
import { UserError } from "../../../model-runtime/errors";
import { type BeamModel, type BeamOptions, beamSearch, type Hypothesis } from "../../../model-runtime/generation/beam";
import { createRandom } from "../../../model-runtime/generation/random";
import { logSoftmax } from "../../../model-runtime/generation/sampling";
import { EOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";

/** Log-probabilities of the next id given all ids so far. */
type Rows = (ids: readonly number[]) => Float64Array;

/** A distribution of its own after every text, so that no two continuations tie. */
function randomRows(seed: number, possible: number[]): Rows {
  return (ids) => {
    const random = createRandom(ids.reduce((hash, id) => (Math.imul(hash, 31) + id) >>> 0, seed));
    const logits = new Float64Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
    for (const id of possible) logits[id] = 4 * random();
    return logSoftmax(logits);
  };
}

/** Counts what is given and taken back; fails on a second release and on the use of a released state. */
function tracked(rows: Rows, onAdvance: (count: number) => void = () => {}) {
  const alive = new Set<{ ids: number[] }>();
  const counts = { advanced: 0, most: 0 };
  const give = (ids: number[]) => {
    const state = { ids };
    alive.add(state);
    counts.most = Math.max(counts.most, alive.size);
    return { state, logProbs: rows(ids) };
  };
  const model: BeamModel<{ ids: number[] }> = {
    start: async () => give([]),
    async advance(state, id) {
      assert.ok(alive.has(state), "a released state is used");
      counts.advanced++;
      onAdvance(counts.advanced);
      return give([...state.ids, id]);
    },
    release(state) {
      assert.ok(alive.delete(state), "a state is released twice");
    },
  };
  return { model, alive, counts };
}

/** Every continuation, scored. */
function exhaustive(rows: Rows, options: BeamOptions): Hypothesis[] {
  const { maxBytes, lengthPenalty, endsWith, maskedIds = [0, 1, 3] } = options;
  const found: Hypothesis[] = [];
  const visit = (ids: number[], logProb: number): void => {
    const last = ids[ids.length - 1];
    const ended = last === EOS ? "eos" : endsWith?.(ids) ? "stop" : ids.length === maxBytes ? "length" : null;
    if (ended !== null) {
      found.push({ ids, logProb, ended, score: logProb / ids.length ** lengthPenalty });
      return;
    }
    const row = rows(ids);
    for (let id = 0; id < row.length; id++) {
      if (row[id] > Number.NEGATIVE_INFINITY && !maskedIds.includes(id)) visit([...ids, id], logProb + row[id]);
    }
  };
  visit([], 0);
  return found.sort((a, b) => b.score - a.score);
}

async function checkExact(rows: Rows, options: BeamOptions): Promise<void> {
  const { model, alive } = tracked(rows);
  const found = await beamSearch(model, options);
  const expected = exhaustive(rows, options).slice(0, options.width);
  assert.deepEqual(found, expected);
  assert.equal(alive.size, 0);
}

describe("beamSearch", () => {
  for (const lengthPenalty of [0, 0.7, 1, 2, -0.5]) {
    it(`with a wide beam is exhaustive search, length penalty ${lengthPenalty}`, async () => {
      for (let seed = 0; seed < 10; seed++) {
        await checkExact(randomRows(seed, [EOS, 70, 80, 90]), { width: 81, maxBytes: 4, lengthPenalty });
      }
    });
  }

  it("ends hypotheses where it is told to", async () => {
    const endsWith = (ids: readonly number[]) => ids[ids.length - 1] === 80;
    for (let seed = 0; seed < 10; seed++) {
      await checkExact(randomRows(seed, [EOS, 70, 80, 90]), { width: 81, maxBytes: 4, lengthPenalty: 1, endsWith });
    }
  });

  it("does not generate masked ids", async () => {
    const rows = randomRows(1, [0, 1, EOS, 3, 70]);
    await checkExact(rows, { width: 40, maxBytes: 3, lengthPenalty: 0 });
    await checkExact(rows, { width: 150, maxBytes: 3, lengthPenalty: 0, maskedIds: [0, 1] });
  });

  it("with a width of 1 and no end follows the most probable id", async () => {
    const rows = randomRows(4, [70, 80, 90]);
    const { model, counts } = tracked(rows);
    const [{ ids, ended }, ...others] = await beamSearch(model, { width: 1, maxBytes: 6, lengthPenalty: 1 });
    const greedy: number[] = [];
    while (greedy.length < 6) {
      const row = rows(greedy);
      greedy.push(row.indexOf(Math.max(...row)));
    }
    assert.deepEqual([ids, ended, others.length], [greedy, "length", 0]);
    assert.equal(counts.advanced, 5);
  });

  it("keeps to its width, and finds what greedy search misses", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const rows = randomRows(seed, [EOS, 70, 80, 90, 100]);
      const options = { width: 3, maxBytes: 5, lengthPenalty: 1 };
      const { model, alive, counts } = tracked(rows);
      const found = await beamSearch(model, options);
      const all = exhaustive(rows, options);
      assert.ok(found.length <= 3 && found[0].score <= all[0].score + 1e-12);
      for (const { ids, score } of found) {
        const same = all.find((hypothesis) => hypothesis.ids.join() === ids.join());
        assert.equal(score, same?.score);
      }
      assert.equal(alive.size, 0);
      assert.ok(counts.most <= 6, `${counts.most} states at once`);
    }
    // The first step of the best sequence is not the most probable one.
    const trap = ([first]: readonly number[]) => {
      const row = new Float64Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
      if (first === undefined) [row[70], row[80]] = [Math.log(0.6), Math.log(0.4)];
      else if (first === 70) for (let id = 100; id < 110; id++) row[id] = Math.log(0.1);
      else row[90] = 0;
      return row;
    };
    const [narrow] = await beamSearch(tracked(trap).model, { width: 1, maxBytes: 2, lengthPenalty: 0 });
    const [wide] = await beamSearch(tracked(trap).model, { width: 2, maxBytes: 2, lengthPenalty: 0 });
    assert.deepEqual(
      [narrow.ids, wide.ids],
      [
        [70, 100],
        [80, 90],
      ],
    );
  });

  it("asks no more of the model when nothing can win any more", async () => {
    const row = new Float64Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
    [row[EOS], row[70]] = [Math.log(0.9), Math.log(0.1)];
    const { model, counts } = tracked(() => row);
    const [best] = await beamSearch(model, { width: 1, maxBytes: 9, lengthPenalty: 0 });
    assert.deepEqual([best.ids, best.ended, counts.advanced], [[EOS], "eos", 0]);
  });

  it("goes on while a longer hypothesis can win", async () => {
    const rows = ([first]: readonly number[]) => {
      const row = new Float64Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
      if (first === undefined) [row[EOS], row[70]] = [Math.log(0.5), Math.log(0.2)];
      else row[70] = 0;
      return row;
    };
    // A mean of log(0.2) / 2 is less than log(0.5), one of log(0.2) / 9 is more.
    const [best] = await beamSearch(tracked(rows).model, { width: 1, maxBytes: 9, lengthPenalty: 1 });
    assert.deepEqual([best.ids.length, best.ended], [9, "length"]);
  });

  it("goes on while the next id can win, with a penalty that favours short ones", async () => {
    const rows = ([first]: readonly number[]) => {
      const row = new Float64Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
      if (first === undefined) [row[EOS], row[70]] = [Math.log(0.1), Math.log(0.8)];
      else row[EOS] = 0;
      return row;
    };
    // Two times log(0.8) is more than log(0.1), twelve times it is less.
    const [best] = await beamSearch(tracked(rows).model, { width: 1, maxBytes: 12, lengthPenalty: -1 });
    assert.deepEqual(best.ids, [70, EOS]);
  });

  it("ends when no id is possible, and with no bytes wanted gives the empty continuation", async () => {
    const nothing = () => new Float64Array(VOCABULARY_SIZE).fill(Number.NEGATIVE_INFINITY);
    const { model, alive } = tracked(nothing);
    assert.deepEqual(await beamSearch(model, { width: 2, maxBytes: 3, lengthPenalty: 1 }), []);
    assert.deepEqual(await beamSearch(model, { width: 2, maxBytes: 0, lengthPenalty: 1 }), [
      { ids: [], logProb: 0, score: 0, ended: "length" },
    ]);
    assert.equal(alive.size, 0);
  });

  it("stops at an abort before it asks the model again, and lets every state go", async () => {
    const rows = randomRows(2, [70, 80, 90]);
    const reason = new Error("stale");
    for (const last of [1, 2, 3, 4, 7]) {
      const controller = new AbortController();
      const { model, alive, counts } = tracked(rows, (count) => count === last && controller.abort(reason));
      const search = beamSearch(model, { width: 3, maxBytes: 5, lengthPenalty: 1, signal: controller.signal });
      await assert.rejects(search, (error) => error === reason);
      assert.deepEqual([counts.advanced, alive.size], [last, 0]);
    }
    const { model, alive, counts } = tracked(rows);
    const signal = AbortSignal.abort(reason);
    await assert.rejects(beamSearch(model, { width: 3, maxBytes: 5, lengthPenalty: 1, signal }), reason);
    assert.deepEqual([counts.most, alive.size], [0, 0]);
  });

  it("lets every state go when the model fails", async () => {
    for (const last of [1, 2, 5]) {
      const { model, alive } = tracked(randomRows(2, [70, 80, 90]), (count) => {
        if (count === last) throw new Error("the model failed");
      });
      await assert.rejects(beamSearch(model, { width: 3, maxBytes: 5, lengthPenalty: 1 }), /the model failed/);
      assert.equal(alive.size, 0);
    }
  });

  const refused: [Partial<BeamOptions>, RegExp][] = [
    [{ width: 0 }, /beam width.*0/],
    [{ width: 1.5 }, /beam width/],
    [{ maxBytes: -1 }, /number of bytes.*-1/],
    [{ lengthPenalty: Number.NaN }, /length penalty/],
  ];
  for (const [overrides, message] of refused) {
    it(`refuses ${Object.entries(overrides)}`, async () => {
      const { model, counts } = tracked(randomRows(1, [70]));
      const search = beamSearch(model, { width: 2, maxBytes: 3, lengthPenalty: 1, ...overrides });
      await assert.rejects(search, (error) => error instanceof UserError && message.test(error.message));
      assert.equal(counts.most, 0);
    });
  }
});
