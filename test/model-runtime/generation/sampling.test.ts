import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../../model-runtime/errors";
import { createRandom } from "../../../model-runtime/generation/random";
import {
  applyTemperature,
  argmax,
  checkSampling,
  logSoftmax,
  maskIds,
  minP,
  penalizeRepetition,
  type SamplingOptions,
  sample,
  samplingDistribution,
  softmax,
  topK,
  topP,
} from "../../../model-runtime/generation/sampling";
import { entropyOfLogits } from "../../../model-runtime/model/entropy";

const NONE = Number.NEGATIVE_INFINITY;
const logs = (...probabilities: number[]): Float64Array => Float64Array.from(probabilities, Math.log);
const anyLogits = fc
  .array(fc.integer({ min: -40, max: 40 }), { minLength: 6, maxLength: 30 })
  .map((row) => row.map((x) => x / 8));

function checkRow(actual: Float64Array, expected: readonly number[]): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, id) => {
    assert.ok(actual[id] === value || Math.abs(actual[id] - value) < 1e-12, `id ${id}: ${actual[id]}, not ${value}`);
  });
}

function kept(row: Float64Array): number[] {
  return Array.from(row.keys()).filter((id) => row[id] > NONE);
}

describe("softmax and entropy", () => {
  it("agree with their definitions", () => {
    fc.assert(
      fc.property(anyLogits, (logits) => {
        const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
        const probabilities = logits.map((logit) => Math.exp(logit) / total);
        checkRow(softmax(logits), probabilities);
        checkRow(logSoftmax(logits), probabilities.map(Math.log));
        const expected = probabilities.reduce((sum, p) => sum - p * Math.log(p), 0);
        assert.ok(Math.abs(entropyOfLogits(logits) - expected) < 1e-12);
      }),
    );
  });

  it("stand large logits and impossible ids", () => {
    checkRow(softmax([1000, 1000, NONE]), [0.5, 0.5, 0]);
    checkRow(logSoftmax([-1000, -1000, NONE]), [-Math.LN2, -Math.LN2, NONE]);
    assert.ok(Math.abs(entropyOfLogits([5, 5, NONE]) - Math.LN2) < 1e-12);
    assert.equal(entropyOfLogits([NONE, 3]), 0);
    assert.ok(Math.abs(entropyOfLogits(new Float32Array(260)) - Math.log(260)) < 1e-12);
  });

  for (const row of [
    [NONE, NONE],
    [0, Number.NaN],
    [Number.POSITIVE_INFINITY, 0],
  ]) {
    it(`refuse ${row}`, () => assert.throws(() => softmax(row), /no distribution/));
  }
});

describe("the transformations of logits", () => {
  it("temperature divides", () => {
    fc.assert(
      fc.property(anyLogits, fc.integer({ min: 1, max: 40 }), (logits, tenths) => {
        const expected = softmax(logits.map((logit) => logit / (tenths / 10)));
        checkRow(softmax(applyTemperature(logits, tenths / 10)), Array.from(expected));
      }),
    );
  });

  it("temperature near 0 is greedy, without overflow", () => {
    checkRow(softmax(applyTemperature([3, 800, 799, NONE], Number.MIN_VALUE)), [0, 1, 0, 0]);
  });

  it("top-k keeps exactly k, of equal logits the lower ids", () => {
    checkRow(topK([1, 3, 2, 3, 3], 2), [NONE, 3, NONE, 3, NONE]);
    checkRow(topK([1, 3], 5), [1, 3]);
    fc.assert(
      fc.property(anyLogits, fc.integer({ min: 1, max: 40 }), (logits, k) => {
        const row = topK(logits, k);
        const out = logits.filter((_, id) => row[id] === NONE);
        assert.equal(kept(row).length, Math.min(k, logits.length));
        for (const id of kept(row)) assert.ok(row[id] === logits[id] && out.every((logit) => logit <= row[id]));
      }),
    );
  });

  it("top-p keeps the fewest that hold the mass", () => {
    const logits = logs(0.125, 0.5, 0.25, 0.125);
    const cases: [number, number[]][] = [
      [1e-9, [1]],
      [0.49, [1]],
      [0.51, [1, 2]],
      [0.76, [0, 1, 2]],
      [0.88, [0, 1, 2, 3]],
      [1, [0, 1, 2, 3]],
    ];
    for (const [p, ids] of cases) assert.deepEqual(kept(topP(logits, p)), ids, `top-p ${p}`);
  });

  it("top-p of 1 keeps the least probable id", () => {
    assert.deepEqual(kept(topP([0, -200, NONE], 1)), [0, 1]);
  });

  it("top-p holds at least p, and not without its last", () => {
    fc.assert(
      fc.property(anyLogits, fc.double({ min: 0.001, max: 0.999, noNaN: true }), (logits, p) => {
        const probabilities = softmax(logits);
        const row = topP(logits, p);
        const mass = kept(row).reduce((sum, id) => sum + probabilities[id], 0);
        const least = Math.min(...kept(row).map((id) => probabilities[id]));
        assert.ok(mass > p - 1e-9 && mass - least < p + 1e-9);
      }),
    );
  });

  it("min-p keeps what is at least a fraction of the best", () => {
    const logits = logs(0.1, 0.4, 0.3, 0.2);
    assert.deepEqual(kept(minP(logits, 0.49)), [1, 2, 3]);
    assert.deepEqual(kept(minP(logits, 0.51)), [1, 2]);
    assert.deepEqual(kept(minP([2, 1, 2], 1)), [0, 2]);
    assert.deepEqual(kept(minP([2, -300, NONE], 0)), [0, 1]);
  });

  it("repetition penalty divides positive and multiplies negative logits, once", () => {
    checkRow(penalizeRepetition([2, -2, 2, 0, NONE], [0, 1, 1, 3, 4], 2), [1, -4, 2, 0, NONE]);
  });

  it("masking makes ids impossible, and nothing changes its argument", () => {
    const logits = Float32Array.of(1, 2, 3);
    checkRow(maskIds(logits, [0, 2]), [NONE, 2, NONE]);
    for (const change of [topK(logits, 1), topP(logits, 0.1), minP(logits, 1), applyTemperature(logits, 2)]) {
      assert.notEqual(change[0], 1);
    }
    penalizeRepetition(logits, [0, 1, 2], 3);
    assert.deepEqual(logits, Float32Array.of(1, 2, 3));
  });
});

describe("sample", () => {
  const never = () => assert.fail("greedy asks for no random number");

  it("at temperature 0 takes the first of the most probable ids that may be generated", () => {
    assert.equal(sample([9, 9, 1, 9, 2, 5, 5], { temperature: 0 }, never), 5);
    assert.equal(sample([9, 9, 9, 9, 2], { temperature: 0 }, never), 2);
    assert.equal(sample([0, 0, 0, 9], { temperature: 0, maskedIds: [] }, never), 3);
    assert.throws(() => argmax([NONE, NONE]), /no distribution/);
    assert.throws(() => sample([0, 0, Number.NaN, 0, Number.NaN], { temperature: 0 }, never), /no distribution/);
  });

  it("with top-k of 1 equals greedy", () => {
    const random = createRandom(3);
    fc.assert(
      fc.property(anyLogits, (logits) => {
        const greedy = sample(logits, { temperature: 0 }, never);
        assert.equal(sample(logits, { temperature: 1.7, topK: 1 }, random), greedy);
      }),
    );
  });

  it("penalises only the window's ids", () => {
    const logits = [0, 0, 0, 0, 4, 3];
    const options = { temperature: 0, repetitionPenalty: 2, repetitionWindow: 2 };
    assert.equal(sample(logits, options, never, Uint16Array.of(4, 5, 5)), 4);
    assert.equal(sample(logits, options, never, Uint16Array.of(5, 4, 4)), 5);
    assert.equal(sample(logits, { ...options, repetitionWindow: 0 }, never, [4, 4, 4]), 4);
    assert.equal(sample(logits, { temperature: 0, repetitionPenalty: 2 }, never, [4, ...Array(63).fill(2)]), 5);
    assert.equal(sample(logits, { temperature: 0, repetitionPenalty: 2 }, never, [4, ...Array(64).fill(2)]), 4);
  });

  it("does its steps in order: mask, penalty, temperature, top-k, top-p, min-p", () => {
    const logits = [50, 50, Math.log(8), 50, Math.log(16), Math.log(4), Math.log(2), Math.log(1)];
    // The penalty of 2 makes id 4 log 4; the temperature halves all; top-k drops id 7.
    const options = { temperature: 2, topK: 4, repetitionPenalty: 2 };
    const roots = [0, 0, Math.sqrt(8), 0, 2, 2, Math.sqrt(2), 0];
    const share = (weights: number[]) => weights.map((w) => w / weights.reduce((sum, weight) => sum + weight));
    checkRow(samplingDistribution(logits, options, [4]), share(roots));
    // Of what top-k left, id 2 holds 0.343 and ids 4 and 5 0.243 each.
    checkRow(samplingDistribution(logits, { ...options, topP: 0.58 }, [4]), share([0, 0, Math.sqrt(8), 0, 2, 0, 0, 0]));
    checkRow(samplingDistribution(logits, { ...options, minP: 0.71 }, [4]), share([0, 0, 1, 0, 0, 0, 0, 0]));
  });

  const frequencies: [string, SamplingOptions, number[]][] = [
    ["plain", { temperature: 1 }, [0, 0, 0.5, 0, 0.25, 0.125, 0.125]],
    ["temperature 0.5", { temperature: 0.5 }, [0, 0, 16 / 22, 0, 4 / 22, 1 / 22, 1 / 22]],
    ["top-k 2", { temperature: 1, topK: 2 }, [0, 0, 2 / 3, 0, 1 / 3, 0, 0]],
    ["top-p 0.8", { temperature: 1, topP: 0.8 }, [0, 0, 4 / 7, 0, 2 / 7, 1 / 7, 0]],
    ["min-p 0.3", { temperature: 1, minP: 0.3 }, [0, 0, 2 / 3, 0, 1 / 3, 0, 0]],
  ];
  for (const [name, options, expected] of frequencies) {
    it(`draws ids as often as their probability says: ${name}`, () => {
      const random = createRandom(11);
      const logits = logs(0.4, 0.4, 0.1, 0.4, 0.05, 0.025, 0.025);
      const counts = new Array(expected.length).fill(0);
      const draws = 20_000;
      for (let i = 0; i < draws; i++) counts[sample(logits, options, random)]++;
      expected.forEach((p, id) => {
        const deviation = Math.abs(counts[id] / draws - p);
        assert.ok(deviation <= 4 * Math.sqrt((p * (1 - p)) / draws), `id ${id}: ${counts[id]} of ${draws}, p = ${p}`);
      });
    });
  }

  it("draws the last possible id when rounding leaves the random number over", () => {
    const almostOne = () => 1 - 2 ** -53;
    // Nine ninths of the nine ids that may be generated sum to less than that.
    assert.equal(sample([...Array(12).fill(0), NONE], { temperature: 1 }, almostOne), 11);
  });

  it("gives the same ids for the same seed", () => {
    const run = (seed: number) => {
      const random = createRandom(seed);
      return Array.from({ length: 50 }, () => sample(new Float32Array(260), { temperature: 1 }, random));
    };
    assert.deepEqual(run(5), run(5));
    assert.notDeepEqual(run(5), run(6));
  });
});

describe("the sampling options", () => {
  it("are accepted at the ends of their ranges", () => {
    checkSampling({ temperature: 0 });
    checkSampling({ temperature: 2, topK: 1, topP: 1, minP: 0, repetitionPenalty: 0.1, repetitionWindow: 0 });
    checkSampling({ temperature: 2, topP: 1e-9, minP: 1 });
  });

  const refused: [Partial<SamplingOptions>, RegExp][] = [
    [{ temperature: -0.1 }, /temperature.*-0\.1/],
    [{ temperature: Number.NaN }, /temperature/],
    [{ temperature: Number.POSITIVE_INFINITY }, /temperature/],
    [{ topK: 0 }, /top-k.*0/],
    [{ topK: 1.5 }, /top-k/],
    [{ topP: 0 }, /top-p/],
    [{ topP: 1.01 }, /top-p.*1\.01/],
    [{ minP: -0.01 }, /min-p/],
    [{ minP: 1.01 }, /min-p/],
    [{ repetitionPenalty: 0 }, /repetition penalty/],
    [{ repetitionPenalty: Number.NaN }, /repetition penalty/],
    [{ repetitionWindow: -1 }, /repetition window/],
  ];
  for (const [overrides, message] of refused) {
    const [[name, value]] = Object.entries(overrides);
    it(`are refused: ${name} ${value}`, () => {
      assert.throws(
        () => checkSampling({ temperature: 1, ...overrides }),
        (error) => error instanceof UserError && message.test(error.message),
      );
    });
  }
});
