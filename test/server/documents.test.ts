import assert from "node:assert/strict";
import fc from "fast-check";
import type { TextDocumentContentChangeEvent } from "vscode-languageserver/node";
import { Documents, MAX_DOCUMENT_LENGTH } from "../../server/documents";

const uri = "file:///a.ts";

function opened(text: string, windowStart: number | null = null): Documents {
  const documents = new Documents();
  documents.didOpen({ textDocument: { uri, languageId: "typescript", version: 1, text } });
  documents.get(uri)!.window =
    windowStart === null ? null : { start: windowStart, front: "", openings: 0, anchor: null };
  return documents;
}

function change(documents: Documents, ...contentChanges: TextDocumentContentChangeEvent[]): void {
  documents.didChange({ textDocument: { uri, version: 2 }, contentChanges });
}

/** A change of `[line, character]` to `[line, character]`. */
function edit([a, b]: number[], [c, d]: number[], text: string): TextDocumentContentChangeEvent {
  return { range: { start: { line: a, character: b }, end: { line: c, character: d } }, text };
}

function check(text: string, changes: TextDocumentContentChangeEvent[], expected: string): void {
  const documents = opened(text);
  change(documents, ...changes);
  assert.equal(documents.get(uri)?.text?.getText(), expected);
}

describe("documents", () => {
  it("insert", () => check("ab\ncd", [edit([1, 1], [1, 1], "X\nY")], "ab\ncX\nYd"));
  it("delete over lines", () => check("ab\ncd\nef", [edit([0, 1], [2, 1], "")], "af"));
  it("replace", () => check("abc", [edit([0, 1], [0, 2], "XY")], "aXYc"));
  it("count UTF-16 code units", () => check("😀é\uD800x", [edit([0, 2], [0, 3], "e")], "😀e\uD800x"));
  it("keep CRLF apart from the text", () => check("ab\r\ncd", [edit([0, 9], [0, 9], "!")], "ab!\r\ncd"));
  it("apply several changes one after the other", () =>
    check("abc", [edit([0, 0], [0, 1], ""), edit([0, 0], [0, 0], "x\n"), edit([1, 0], [1, 1], "")], "x\nc"));
  it("take a whole new text", () => check("abc", [{ text: "xyz" }], "xyz"));
  it("clamp positions beyond the end", () => check("ab", [edit([7, 3], [9, 0], "c")], "abc"));
  it("refuse a change of one that is not open", () =>
    assert.throws(() => change(new Documents(), { text: "" }), /never opened/));
  it("forget what is closed", () => {
    const documents = opened("a");
    documents.didClose(uri);
    assert.equal(documents.get(uri), undefined);
  });
  it("do not keep what is too large, and do not try again", () => {
    const documents = opened("x".repeat(MAX_DOCUMENT_LENGTH + 1));
    assert.equal(documents.get(uri)?.text, null);
    change(documents, { text: "small" });
    assert.equal(documents.get(uri)?.text, null);
  });
  it("keep a file of 1 MiB that is typed in", () => {
    const documents = opened("x = 1;\n".repeat(2 ** 20 / 7));
    for (let i = 0; i < 1000; i++) change(documents, edit([i, 0], [i, 0], "let "));
    assert.equal(documents.get(uri)?.text?.getText().length, 7 * Math.floor(2 ** 20 / 7) + 4000);
  });
  it("let go what becomes too large", () => {
    const documents = opened("x".repeat(MAX_DOCUMENT_LENGTH));
    assert.notEqual(documents.get(uri)?.text, null);
    change(documents, edit([0, 0], [0, 0], "y"));
    assert.equal(documents.get(uri)?.text, null);
  });

  it("equal a reference after a thousand random edits", () => {
    const pieces = ["a", "\n", "\r\n", "\r", "😀", "\uD83D", "\uDE00", "é", "\uFEFF", "  ", "foo(bar)\n\n"];
    const offset = fc.double({ min: 0, max: 1, noNaN: true });
    const anyEdit = fc.tuple(offset, offset, fc.array(fc.constantFrom(...pieces), { maxLength: 4 }));
    fc.assert(
      fc.property(fc.array(anyEdit, { minLength: 1000, maxLength: 1000 }), (edits) => {
        let expected = "start\r\nof the 😀 text\n";
        const documents = opened(expected);
        for (const [a, b, inserted] of edits) {
          // A position between the two characters of a CRLF cannot be named in LSP, nor one behind its line's end.
          const ends = [a, b].map((share) => betweenLineEnds(expected, Math.round(share * expected.length)));
          const [start, end] = ends.sort((x, y) => x - y);
          // Half of the deletions are kept short, so that the text grows.
          const stop = Math.min(end, start + 5);
          const to = betweenLineEnds(expected, stop);
          const text = inserted.join("");
          change(documents, edit(positionOf(expected, start), positionOf(expected, to), text));
          expected = expected.slice(0, start) + text + expected.slice(Math.max(start, to));
        }
        assert.equal(documents.get(uri)?.text?.getText(), expected);
      }),
      { numRuns: 5 },
    );
  });
});

describe("the window's start", () => {
  const moved = (from: number, changed: TextDocumentContentChangeEvent) => {
    const documents = opened("0123456789", from);
    change(documents, changed);
    return documents.get(uri)?.window?.start ?? null;
  };
  it("stays when the text behind it changes", () => assert.equal(moved(4, edit([0, 4], [0, 9], "x")), 4));
  it("moves with text inserted before it", () => assert.equal(moved(4, edit([0, 1], [0, 1], "xyz")), 7));
  it("moves with text deleted before it", () => assert.equal(moved(4, edit([0, 1], [0, 4], "")), 1));
  it("is lost when it lay inside", () => assert.equal(moved(4, edit([0, 1], [0, 5], "x")), null));
  it("is lost with the whole text", () => assert.equal(moved(4, { text: "0123456789" }), null));
});

/** `offset`, or one less where that would be inside a CRLF. */
function betweenLineEnds(text: string, offset: number): number {
  return text[offset - 1] === "\r" && text[offset] === "\n" ? offset - 1 : offset;
}

/** Line and character by the definition of LSP: "\n", "\r\n" and "\r" end lines. */
function positionOf(text: string, offset: number): number[] {
  const lines = text.slice(0, offset).split(/\r\n|\n|\r/);
  return [lines.length - 1, lines[lines.length - 1].length];
}
