import assert from "node:assert/strict";
import { changeKind, type EditorMoment, reasonForQuiet } from "../../client/quiet";

describe("quiet", () => {
  const usual: EditorMoment = { cursors: 1, hasSelection: false, lastChange: "insertion" };

  function check(moment: Partial<EditorMoment>, reason: RegExp | null) {
    const sentence = reasonForQuiet({ ...usual, ...moment });
    if (reason === null) assert.equal(sentence, null);
    else assert.match(sentence ?? "", reason);
  }

  it("asks after typing, and before any change", () => {
    check({}, null);
    check({ lastChange: null }, null);
  });
  it("asks for a document that no editor shows", () => check({ cursors: 0 }, null));
  it("is quiet with several cursors", () => check({ cursors: 2 }, /several cursors/));
  it("is quiet with a selection", () => check({ hasSelection: true }, /selected/));
  it("is quiet after a deletion", () => check({ lastChange: "deletion" }, /deleted/));
  it("is quiet after undo", () => check({ lastChange: "undo" }, /undone/));

  function checkKind(texts: string[], undone: boolean, kind: ReturnType<typeof changeKind>) {
    assert.equal(
      changeKind(
        texts.map((text) => ({ text })),
        undone,
      ),
      kind,
    );
  }

  it("knows the kind of a change", () => {
    checkKind(["a"], false, "insertion");
    checkKind([""], false, "deletion");
    checkKind(["", "a"], false, "insertion");
    checkKind(["a"], true, "undo");
  });
  it("takes an event without changes for none", () => checkKind([], false, null));
});
