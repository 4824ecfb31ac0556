import assert from "node:assert/strict";
import { decorationsOf, type OverlayViewName, overlayViews, type ShownLine } from "../../client/overlay-decorations";

/** The kinds that have ranges, as `line:from-to`. */
function shown(lines: ShownLine[], view: OverlayViewName) {
  return Object.fromEntries(
    Object.entries(decorationsOf(lines, view))
      .filter(([, ranges]) => ranges.length > 0)
      .map(([kind, ranges]) => [kind, ranges.map(({ line, from, to }) => `${line}:${from}-${to}`).join(" ")]),
  );
}

describe("decorationsOf", () => {
  const line: ShownLine = { line: 3, text: "ab 🙂c", view: { levels: "0177772 ", starts: [0, 2, 5, 6], inner: [3] } };

  it("gives patches their colours one after the other, and a line where each starts", () => {
    assert.deepEqual(shown([line], "patches"), {
      patch0: "3:0-2",
      patch1: "3:2-5",
      // The patch that starts inside the character has no column of its own: the next one starts behind it.
      patch3: "3:5-6",
      boundary: "3:0-1 3:2-3 3:5-6",
      boundaryAtEnd: "3:6-6",
      inner: "3:3-5",
    });
  });

  it("continues a patch of the line before in a colour of its own", () => {
    const rest = { line: 0, text: "abc", view: { levels: "000", starts: [2], inner: [] } };
    assert.deepEqual(shown([rest], "patches"), { patch3: "0:0-2", patch0: "0:2-3", boundary: "0:2-3" });
  });

  it("gives entropies their levels, with lines where patches start if both are shown", () => {
    const levels = { level1: "3:1-2", level7: "3:2-6", inner: "3:3-5" };
    const same = { ...line, view: { ...line.view, levels: "0177777 " } };
    assert.deepEqual(shown([same], "entropy"), levels);
    assert.deepEqual(shown([same], "mixed"), levels);
    assert.deepEqual(shown([same], "both"), { ...levels, boundary: "3:0-1 3:2-3 3:5-6", boundaryAtEnd: "3:6-6" });
  });

  it("draws the starts of patches of one character each by turns, so that none of them merge", () => {
    const dense = { line: 0, text: "abcde", view: { levels: "77777", starts: [1, 2, 3, 4], inner: [] } };
    const { boundary, boundaryBeside } = shown([dense], "both");
    assert.deepEqual([boundary, boundaryBeside], ["0:1-2 0:3-4", "0:2-3 0:4-5"]);
  });

  it("shows nothing of what is not read yet", () => {
    const unread = { line: 0, text: "abc", view: { levels: "   ", starts: [], inner: [] } };
    for (const view of overlayViews) assert.deepEqual(shown([unread], view), {});
  });
});
