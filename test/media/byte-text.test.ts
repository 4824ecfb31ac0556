import assert from "node:assert/strict";
import { ByteText, lastAtMost } from "../../media/explorer/byte-text";

describe("ByteText", () => {
  const content = new ByteText("aß\n\t🙂b\n");

  it("finds lines, bytes and places", () => {
    assert.deepEqual(content.lineStarts, [0, 4, 11]);
    for (const [byte, place] of [
      [0, { line: 0, character: 0 }],
      [3, { line: 0, character: 2 }],
      [9, { line: 1, character: 3 }],
      [11, { line: 2, character: 0 }],
    ] as const) {
      assert.deepEqual(content.placeOf(byte), place);
      assert.equal(content.byteOf(place), byte);
    }
    assert.equal(content.byteOf({ line: 9, character: 0 }), 11);
  });

  it("cuts a line, and shows the bytes of a character that is cut", () => {
    const shown = (line: number, starts: number[]) =>
      content
        .cells(line, starts)
        .map(({ text, segment, isStart, at }) => `${text}/${segment}${isStart ? "!" : ""}@${at}`);
    assert.deepEqual(shown(0, [0, 1]), ["a/0!@0", "ß↵/1!@1"]);
    assert.deepEqual(shown(0, [0, 2]), ["a/0!@0", "C3/0@1", "9F/1!@2", "↵/1@3"]);
    assert.deepEqual(shown(1, [0, 5, 7]), ["⇥   /0@4", "F09F/1!@5", "9982/2!@7", "b↵/2@9"]);
    assert.deepEqual(shown(2, [0]), []);
  });

  it("names white space", () => assert.equal(content.shown(3, 5), "↵⇥"));
});

describe("lastAtMost", () => {
  it("finds the last number that is not larger", () => {
    assert.deepEqual(
      [0, 1, 4, 5, 99].map((value) => lastAtMost([0, 2, 5], value)),
      [0, 0, 1, 2, 2],
    );
  });
});
