import assert from "node:assert/strict";
import fc from "fast-check";
import { PieceText } from "../../../model-runtime/lexicon/piece-text";
import { bytesOf, edits, hashParts, tinyLexicon } from "./lexicon-samples";

function textOf(bytes: Uint8Array, maxPositions?: number): PieceText {
  const text = new PieceText(hashParts({}, maxPositions));
  for (const byte of bytes) text.append(byte);
  return text;
}

/** All that is asked of a text. */
function seen(text: PieceText) {
  const { openPlace, pieceStarts } = text;
  const open = { place: openPlace, cut: [5, 6] };
  return {
    openPlace,
    pieceStarts,
    bytes: Array.from(text.bytes),
    whole: text.wholePath(),
    after: text.pathAfter(open, 1, [7]),
  };
}

describe("PieceText", () => {
  it("after appends, truncations and copies is what a fresh one is", () => {
    fc.assert(
      fc.property(edits, (steps) => {
        let text = textOf(bytesOf(""));
        for (const step of steps) {
          if (typeof step === "number") {
            const before = seen(text);
            const copy = text.fork();
            copy.truncate(Math.floor(step * text.length));
            for (const byte of bytesOf("other words ")) copy.append(byte);
            copy.wholePath();
            assert.deepEqual(seen(text), before);
            text = text.fork();
            text.truncate(Math.floor(step * text.length));
          } else for (const byte of step) text.append(byte);
          assert.deepEqual(seen(text), seen(textOf(text.bytes.slice())));
        }
      }),
      { numRuns: 150 },
    );
  });

  it("has a path of all its pieces, and paths that go on with others behind a word's first", () => {
    const text = textOf(bytesOf("const value = con"));
    const { path, openPieces } = text.wholePath();
    const spelt = Array.from(path.subarray(1)).flatMap((piece) => Array.from(tinyLexicon.pieces[piece]!));
    assert.equal(path[0], 1);
    assert.equal(Buffer.from(spelt).toString(), "const value = con");
    const cut = Array.from(path.subarray(path.length - openPieces));
    const before = Array.from(path.subarray(0, path.length - openPieces));
    assert.deepEqual(Array.from(text.pathAfter({ place: text.openPlace, cut }, 0, [])), before);
    assert.deepEqual(Array.from(text.pathAfter({ place: text.openPlace, cut }, 1, [9])), [...before, cut[0], 9]);
  });

  it("opens a long word anew every so many bytes", () => {
    const text = textOf(bytesOf(`x${"=".repeat(20)}`));
    assert.deepEqual(text.openPlace, { start: 1, opened: 17, settledWords: 1 });
  });

  it("has no path longer than allowed when a word is opened, and seldom leaves out more of what is far back", () => {
    const text = textOf(bytesOf(""), 60);
    const fronts = new Set<string>();
    for (const byte of bytesOf("const value = con(x);\n".repeat(20))) {
      text.append(byte);
      const path = text.pathAfter({ place: text.openPlace, cut: [] }, 0, []);
      assert.ok(path.length <= 60 - 8 && path[0] === 1);
      if (path.length > 25) fronts.add(path.subarray(0, 10).join());
    }
    assert.ok(fronts.size > 1 && fronts.size < 15, `${fronts.size} different beginnings`);
  });

  it("says where pieces begin", () => {
    assert.deepEqual(textOf(bytesOf("const value")).pieceStarts, [0, 5]);
  });
});
