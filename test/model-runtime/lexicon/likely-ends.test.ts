import assert from "node:assert/strict";
import { likelyEnds } from "../../../model-runtime/lexicon/likely-ends";
import { SortedPieces } from "../../../model-runtime/lexicon/sorted-pieces";
import { bytesOf } from "./lexicon-samples";

const strings = ["key", "keys", "k", "s", ")", "))", "\n", "\n\t", "\n\t\t"];
const table = new SortedPieces(strings.map(bytesOf));

/** Probabilities of single characters after each length of the word; what is not said has none. */
function ends(word: string, after: Record<string, number>[], least: number) {
  const rows = after.map((chances) => {
    const row = new Float64Array(257);
    for (const [character, chance] of Object.entries(chances)) row[character.charCodeAt(0)] = chance;
    return row;
  });
  const found = likelyEnds(table, bytesOf(word), (length) => rows[length - 1], least);
  return found.map(({ pieces, end, share }) => [
    pieces.map((piece) => strings[piece]),
    end,
    Math.round(share * 1e6) / 1e6,
  ]);
}

describe("likelyEnds", () => {
  it("are where a byte is expected with which no longer piece goes on", () => {
    const after: Record<string, number>[] = [{ e: 0.9, "=": 0.1 }, { y: 1 }, { s: 0.3, "=": 0.7 }, { "=": 1 }];
    assert.deepEqual(ends("keys", after, 0.5), [
      [["key"], 3, 0.7],
      [["key", "s"], 4, 0.7],
      [["keys"], 4, 1],
    ]);
    assert.deepEqual(ends("keys", after, 0.8), [[["keys"], 4, 1]]);
    assert.deepEqual(ends("keys", after, 0.05)[0], [["k"], 1, 0.1]);
  });

  it("leave the last of several blanks to what follows them", () => {
    const following = (blank: number): Record<string, number>[] => [{ "\t": 1 }, { "\t": blank, a: 1 - blank }];
    assert.deepEqual(ends("\n\t", following(0.2), 0.5), [
      [["\n"], 1, 0.8],
      [["\n\t"], 2, 0.8],
    ]);
    assert.deepEqual(ends("\n\t", following(0.9), 0.5), []);
  });

  it("are none of a word that no piece begins", () => {
    assert.deepEqual(ends("xk", [{ k: 1 }, { k: 1 }], 0), []);
  });
});
