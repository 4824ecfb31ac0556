import assert from "node:assert/strict";
import fc from "fast-check";
import type { Cut, Lexicon } from "../../../model-runtime/lexicon/pieces";
import {
  bytesOf,
  defaultFolder,
  goldenDefault,
  goldenLexicon,
  hardTexts,
  lexiconFolder,
  loadLexicon,
} from "./lexicon-samples";

/** The bytes of a cut by its pieces, which must begin where it says. */
function joined(lexicon: Lexicon, { pieces, starts }: Cut, text: Uint8Array): number[] {
  return pieces.flatMap((piece, i) => {
    const bytes = [...lexicon.pieces[piece]!];
    assert.deepEqual(bytes, [...text.subarray(starts[i], starts[i] + bytes.length)]);
    return bytes;
  });
}

describe("pieces", () => {
  it("are those of the golden cuts", () => {
    for (const name of ["plain", "blocks", "symmetric"]) {
      const lexicon = loadLexicon(lexiconFolder(name));
      const golden = goldenLexicon(name);
      for (const { name: label, text } of golden.cases.filter((each) => each.name.endsWith(".0")))
        assert.deepEqual(lexicon.cut(Uint8Array.from(text)).pieces, golden.cuts[label.slice(0, -2)]);
    }
  });

  it("are those of the default model's own tokenizer", () => {
    const lexicon = loadLexicon(defaultFolder);
    for (const [text, pieces] of goldenDefault().cuts)
      assert.deepEqual(lexicon.cut(Uint8Array.from(text)).pieces, pieces);
  });

  const lexicon = loadLexicon(lexiconFolder("plain"));

  it("hold every byte of a text once, but those that no piece has", () => {
    const known = new Set(lexicon.pieces.filter((piece) => piece?.length === 1).map((piece) => piece![0]));
    fc.assert(
      fc.property(hardTexts, (text) => {
        assert.deepEqual(
          joined(lexicon, lexicon.cut(text), text),
          [...text].filter((byte) => known.has(byte)),
        );
      }),
    );
  });

  it("of a word merge the pair of lowest rank, the leftmost first", () => {
    // "==" is one piece: of five the first four pair up from the left.
    const pieces = lexicon.cutWord(bytesOf("=====")).pieces.map((piece) => lexicon.pieces[piece]!.length);
    assert.deepEqual(pieces, [2, 2, 1]);
  });

  it("of a word of a million bytes are found", () => {
    const word = new Uint8Array(1_000_001).fill(0x3d);
    const { pieces, starts } = lexicon.cutWord(word);
    assert.equal(pieces.length, 500_001);
    assert.equal(starts[500_000], 1_000_000);
  });
});
