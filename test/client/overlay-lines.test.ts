import assert from "node:assert/strict";
import { lineChange, OverlayLines, placeNow } from "../../client/overlay-lines";

const view = (levels: string) => ({ levels, starts: [], inner: [] });
const params = (version: number, line: number, ...levels: string[]) => ({
  uri: "a",
  version,
  parts: [{ line, lines: levels.map(view) }],
});

describe("OverlayLines", () => {
  const shown = (lines: OverlayLines, count: number) =>
    Array.from({ length: count }, (_, line) => lines.at(line)?.levels ?? "-").join(" ");

  it("moves lines with their text, and forgets those that an edit touched", () => {
    const lines = new OverlayLines();
    assert.equal(lines.take(params(1, 0, "0", "1", "2", "3")), true);
    lines.edited(2, [{ from: 1, to: 1, lines: 3 }]);
    assert.equal(shown(lines, 7), "0 - - - 2 3 -");
    lines.edited(3, [{ from: 4, to: 5, lines: 1 }]);
    assert.equal(shown(lines, 5), "0 - - - -");
  });

  it("finds the place of lines that come late", () => {
    const lines = new OverlayLines();
    lines.edited(2, [
      { from: 0, to: 0, lines: 2 },
      { from: 3, to: 3, lines: 1 },
    ]);
    lines.edited(3, [{ from: 6, to: 7, lines: 1 }]);
    assert.equal(lines.take(params(1, 0, "0", "1", "2", "3", "4", "5", "6", "7")), true);
    assert.equal(shown(lines, 9), "- - 1 - 3 4 - 7 -");
    assert.equal(lines.take(params(2, 6, "x")), false);
    assert.equal(lines.take(params(3, 6, "y")), true);
    assert.equal(lines.at(6)?.levels, "y");
  });

  it("takes nothing that is older than it remembers", () => {
    const lines = new OverlayLines();
    for (let version = 2; version < 400; version++) lines.edited(version, []);
    assert.equal(lines.take(params(3, 0, "0")), false);
    assert.equal(lines.take(params(398, 0, "0")), true);
  });
});

describe("placeNow", () => {
  it("moves a line by the changes before it", () => {
    assert.equal(placeNow(5, [{ from: 0, to: 1, lines: 4 }]), 7);
    assert.equal(placeNow(5, [{ from: 5, to: 5, lines: 1 }]), null);
    assert.equal(placeNow(5, [{ from: 6, to: 9, lines: 0 }]), 5);
  });
});

describe("lineChange", () => {
  it("counts line ends of every kind", () => {
    const range = { start: { line: 3 }, end: { line: 4 } };
    assert.deepEqual(lineChange({ range, text: "a\r\nb\rc\nd" }), { from: 3, to: 4, lines: 4 });
    assert.deepEqual(lineChange({ range, text: "" }), { from: 3, to: 4, lines: 1 });
  });
});
