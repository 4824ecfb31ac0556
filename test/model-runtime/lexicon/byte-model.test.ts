import assert from "node:assert/strict";
import fc from "fast-check";
import { type ByteModel, countingModel, withCounts } from "../../../model-runtime/lexicon/byte-model";
import { EOS_SYMBOL, SYMBOLS } from "../../../model-runtime/lexicon/open-word";
import { bytesOf, hardTexts } from "./lexicon-samples";

describe("countingModel", () => {
  it("blends what followed longer and longer contexts", async () => {
    const [found] = await countingModel().after(bytesOf("abab"), 4, 4);
    // Nothing read yet, then the counts of no context (a 2, b 2), of "b" (a 1), of "ab" (a 1); "bab" is new.
    const start = (256 / 256 + 1e-4) as number;
    const none = (value: number, count: number) => (value * 2) / 6 + count / 6;
    const a = (none(1 / 256, 2) / 2 + 1 / 2) / 2 + 1 / 2;
    const b = none(1 / 256, 2) / 4;
    const sum = (((start * 2) / 6 + 4 / 6) / 2 + 1 / 2) / 2 + 1 / 2;
    assert.ok(Math.abs(found[0x61] - a / sum) < 1e-12);
    assert.ok(Math.abs(found[0x62] - b / sum) < 1e-12);
  });

  it("is a distribution after each beginning, of which later bytes change nothing", async () => {
    await fc.assert(
      fc.asyncProperty(hardTexts, async (text) => {
        const rows = await countingModel().after(text, 0, text.length);
        for (const [length, row] of rows.entries()) {
          assert.ok(Math.abs(row.reduce((sum, each) => sum + each) - 1) < 1e-12);
          assert.ok(row.every((each) => each > 0) && row[EOS_SYMBOL] > 0);
          assert.deepEqual([row], await countingModel().after(text.slice(0, length), length, length));
        }
      }),
      { numRuns: 30 },
    );
  });
});

/** Of a byte, and of EOS, where nothing is known. */
const even = (symbol: number) => (symbol === EOS_SYMBOL ? 1e-4 : 1 / 256) / (1 + 1e-4);

describe("withCounts", () => {
  /** Each byte as likely as the length of the text says; counts what is truncated. */
  const known = (truncated: number[] = []): ByteModel => ({
    after: async (_, from, to) =>
      Array.from({ length: to - from + 1 }, (_, i) => {
        const row = Float64Array.from({ length: SYMBOLS }, (_, symbol) => 1 + ((symbol * 7 + from + i) % 13));
        const sum = row.reduce((total, each) => total + each);
        return row.map((each) => each / sum);
      }),
    truncate: (length) => truncated.push(length),
    fork: () => known(truncated),
  });

  it("blends what followed 3 to 6 bytes over what the model says", async () => {
    const text = bytesOf("xabc1 yabc2 abc");
    const [row] = await withCounts(known()).after(text, text.length, text.length);
    const [before] = await known().after(text, text.length, text.length);
    // "abc" was followed by "1" and by "2", " abc" by nothing yet.
    const blended = (symbol: number, count: number) =>
      (0.99 * (before[symbol] * 3 * 2 + count)) / (2 + 3 * 2) + 0.01 * even(symbol);
    assert.ok(Math.abs(row[0x31] - blended(0x31, 1)) < 1e-12);
    assert.ok(Math.abs(row[0x32] - blended(0x32, 1)) < 1e-12);
    assert.ok(Math.abs(row[0x33] - blended(0x33, 0)) < 1e-12);
    assert.ok(Math.abs(row[EOS_SYMBOL] - blended(EOS_SYMBOL, 0)) < 1e-12);
  });

  it("counts contexts of 3 to 6 bytes, as many as came before", async () => {
    const text = bytesOf("  a  b  a    x  a  ");
    const [row] = await withCounts(known()).after(text, text.length, text.length);
    const [blend] = await known().after(text, text.length, text.length);
    const ends = Buffer.from(text).toString("latin1");
    for (let order = 3; order <= 6; order++) {
      const followers = new Map<number, number>();
      for (let at = order; at < text.length; at++)
        if (ends.slice(at - order, at) === ends.slice(-order))
          followers.set(text[at], (followers.get(text[at]) ?? 0) + 1);
      const total = [...followers.values()].reduce((sum, each) => sum + each, 0);
      if (total === 0) break;
      const rest = 3 * followers.size;
      for (let symbol = 0; symbol < SYMBOLS; symbol++)
        blend[symbol] = (blend[symbol] * rest + (followers.get(symbol) ?? 0)) / (total + rest);
    }
    row.forEach((each, symbol) => {
      assert.ok(Math.abs(each - (0.99 * blend[symbol] + 0.01 * even(symbol))) < 1e-12, `${symbol}`);
    });
  });

  it("counts a row once that the model gives again, for copies too", async () => {
    const rows = await known().after(bytesOf("abcabcabc"), 9, 9);
    const given: ByteModel = { after: async () => rows, truncate: () => undefined, fork: () => given };
    const model = withCounts(given);
    const [first] = await model.after(bytesOf("abcabcabc"), 9, 9);
    const [second] = await model.fork().after(bytesOf("abcabcabc"), 9, 9);
    assert.equal(first, second);
  });

  it("is the model where nothing came before, but for a hundredth", async () => {
    const text = bytesOf("abcdefghij");
    const rounded = (each: number) => each.toFixed(12);
    assert.deepEqual(
      (await withCounts(known()).after(text, 0, 10)).map((row) => [...row].map(rounded)),
      (await known().after(text, 0, 10)).map((row) => [...row].map((p, i) => rounded(0.99 * p + 0.01 * even(i)))),
    );
  });

  it("is a distribution after each beginning; truncating and copying reach the model", async () => {
    const truncated: number[] = [];
    const model = withCounts(known(truncated)).fork();
    model.truncate(3);
    assert.deepEqual(truncated, [3]);
    await fc.assert(
      fc.asyncProperty(hardTexts, async (text) => {
        for (const row of await model.after(text, 0, text.length)) {
          assert.ok(Math.abs(row.reduce((sum, each) => sum + each) - 1) < 1e-12);
          assert.ok(row.every((each) => each > 0));
        }
      }),
      { numRuns: 30 },
    );
  });
});
