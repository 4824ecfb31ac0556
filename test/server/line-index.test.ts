import assert from "node:assert/strict";
import { LineIndex } from "../../server/line-index";

describe("LineIndex", () => {
  it("finds lines by byte and bytes by line", () => {
    const index = new LineIndex([3, 1, 0]);
    assert.deepEqual(
      [0, 1, 2, 3].map((line) => index.startOf(line)),
      [0, 3, 4, 4],
    );
    assert.deepEqual(
      [0, 2, 3, 4, 9].map((byte) => index.lineAt(byte)),
      [
        { line: 0, start: 0 },
        { line: 0, start: 0 },
        { line: 1, start: 3 },
        { line: 2, start: 4 },
        { line: 2, start: 4 },
      ],
    );
    assert.deepEqual([index.hasEnd(1), index.hasEnd(2)], [true, false]);
  });

  it("replaces few lines and many", () => {
    const index = new LineIndex([1, 2, 3, 4]);
    index.replace(1, 2, [5]);
    assert.equal(index.startOf(3), 10);
    index.replace(1, 1, new Array(5000).fill(2));
    assert.deepEqual([index.count, index.startOf(5001), index.lengthOf(5001)], [5002, 10_001, 4]);
  });
});
