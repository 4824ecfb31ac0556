import assert from "node:assert/strict";
import fc from "fast-check";
import { EOS_SYMBOL, OpenWord, SYMBOLS } from "../../../model-runtime/lexicon/open-word";
import { SortedPieces } from "../../../model-runtime/lexicon/sorted-pieces";
import { bytesOf } from "./lexicon-samples";

const even = new Float64Array(SYMBOLS).fill(1 / SYMBOLS);

/** Masses by piece, EOS last, in sorted order. */
function masses(table: SortedPieces, vocabulary: string[], byText: Record<string, number>): Float64Array {
  const mass = new Float64Array(table.order.length + 1);
  for (const [text, value] of Object.entries(byText)) mass[table.place[vocabulary.indexOf(text)]] = value;
  return mass;
}

describe("OpenWord", () => {
  it("reads the worked example of docs/lexicon.md", () => {
    const vocabulary = ["c", "o", "n", "s", "t", "=", "co", "con", "const", "st"];
    const table = new SortedPieces(vocabulary.map(bytesOf));
    const first = masses(table, vocabulary, { const: 0.6, con: 0.3, co: 0.05, c: 0.04, "=": 0.01 });
    const rule = { refreshThreshold: 0.2, fallbackShare: 0, wordLimit: 32 };
    const word = OpenWord.open(table, rule, [{ own: 0, end: 0, weight: 1, mass: first }], new Uint8Array(0));
    const check = (byte: string, expected: [piece: string, mass: number][]) => {
      word.write(byte.charCodeAt(0), 0.2);
      const ended = word.ended.map(({ pieces: [piece], mass }) => [vocabulary[piece], Number(mass.toFixed(6))]);
      assert.deepEqual(ended, expected);
    };
    check("c", [["c", 0.04]]);
    assert.equal(word.stale(), null);
    check("o", [
      ["c", 0.008],
      ["co", 0.05],
    ]);
    assert.equal(word.stale(), null);
    check("n", [
      ["c", 0.0016],
      ["co", 0.01],
      ["con", 0.3],
    ]);
    const stale = word.stale()!;
    assert.equal(vocabulary[stale.pieces[0]], "con");
    // "const" holds .6 of .9116, and two of its bytes are still to come.
    const likeliest = word.likeliestCut()!;
    assert.deepEqual(
      [likeliest.own, likeliest.missing, likeliest.pieces.map((piece) => vocabulary[piece])],
      [0, 2, ["const"]],
    );
    assert.ok(Math.abs(likeliest.chance - 0.6 / 0.9116) < 1e-9);
    word.refresh(stale, masses(table, vocabulary, { st: 0.1, "=": 0.8, s: 0.1 }));
    const model = new Float64Array(SYMBOLS).fill(0.2);
    assert.ok(Math.abs(word.distribution(model)["s".charCodeAt(0)] - 0.66232 / 0.9116) < 1e-9);
    assert.equal(word.stale(), null);
  });

  it("with threshold 0 and no share of the byte model is the sum over all sequences of pieces", () => {
    const vocabulary = ["a", "b", "ab", "ba", "aa", "bab", "abba"];
    const table = new SortedPieces(vocabulary.map(bytesOf));
    /** Any function of the path will do. */
    const nextPieces = (path: string[]) => {
      const weights = [...vocabulary, ""].map(
        (piece, i) => 1 + ((path.join("|").length * 7 + piece.length * 3 + i * 5) % 11),
      );
      const sum = weights.reduce((total, weight) => total + weight);
      return Object.fromEntries([...vocabulary, ""].map((piece, i) => [piece, weights[i] / sum]));
    };
    const inOrder = (byText: Record<string, number>) => {
      const mass = new Float64Array(table.order.length + 1);
      table.order.forEach((piece, place) => {
        mass[place] = byText[vocabulary[piece]];
      });
      mass[table.order.length] = byText[""];
      return mass;
    };
    /** Probability that the text begins with `text`; with `end`, that it is `text`. */
    const probability = (text: string, end: boolean, path: string[] = []): number => {
      const next = nextPieces(path);
      if (text === "") return end ? next[""] : 1;
      return vocabulary.reduce((sum, piece) => {
        if (text.startsWith(piece))
          return sum + next[piece] * probability(text.slice(piece.length), end, [...path, piece]);
        return piece.startsWith(text) && !end ? sum + next[piece] : sum;
      }, 0);
    };
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "b"), { maxLength: 7 }), (letters) => {
        const rule = { refreshThreshold: 0, fallbackShare: 0, wordLimit: 32 };
        const first = { own: 0, end: 0, weight: 1, mass: inOrder(nextPieces([])) };
        const word = OpenWord.open(table, rule, [first], new Uint8Array(0));
        for (const letter of letters) {
          word.write(letter.charCodeAt(0), 0.5);
          for (let piece = word.stale(); piece !== null; piece = word.stale())
            word.refresh(piece, inOrder(nextPieces(piece.pieces.map((each) => vocabulary[each]))));
        }
        const text = letters.join("");
        const found = word.distribution(even);
        const whole = probability(text, false);
        for (const letter of "ab")
          assert.ok(Math.abs(found[letter.charCodeAt(0)] - probability(text + letter, false) / whole) < 1e-12);
        assert.ok(Math.abs(found[EOS_SYMBOL] - probability(text, true) / whole) < 1e-12);
      }),
    );
  });

  it("is the byte model's where no piece begins with what is written", () => {
    const table = new SortedPieces([bytesOf("a")]);
    const rule = { refreshThreshold: 0.1, fallbackShare: 0, wordLimit: 32 };
    const reading = { own: 0, end: 0, weight: 1, mass: Float64Array.of(1, 0) };
    const word = OpenWord.open(table, rule, [reading], bytesOf("b"));
    assert.deepEqual(word.distribution(even), even);
    assert.equal(word.fallbackPart(), 1);
  });
});
