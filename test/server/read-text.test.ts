import assert from "node:assert/strict";
import fc from "fast-check";
import { TextDocument } from "vscode-languageserver-textdocument";
import type { PatchingConfig } from "../../model-runtime/checkpoint/config";
import { asRead, ReadText } from "../../server/read-text";

const staticThrees: PatchingConfig = {
  mode: "static",
  threshold: 1,
  thresholdAdd: null,
  monotonic: false,
  newlineReset: false,
  patchSize: 3,
  maxPatchLength: null,
  minPatchLength: 1,
};

async function read(text: string): Promise<ReadText> {
  const found = new ReadText(text, 1, staticThrees, null);
  await found.buffer.settle();
  return found;
}

describe("ReadText", () => {
  it("shows patch starts by line and column, and those inside a character apart", async () => {
    // Static patches of 3 start at ids 0, 1, 3, 6, ...: at bytes 0, 2, 5, 8, ...
    const text = await read("ab語c\r\n🙂x");
    const views = text.views({ from: 0, to: 2 });
    assert.deepEqual(
      views.map(({ starts, inner }) => ({ starts, inner })),
      // Bytes: a0 b1 語2-4 c5 ⏎6 🙂7-10 x11
      [
        { starts: [0, 2, 3], inner: [] },
        { starts: [2], inner: [0] },
      ],
    );
    // Entropies are not known, and there is a place for each column and each line end.
    assert.deepEqual(
      views.map(({ levels }) => levels),
      ["     ", "   "],
    );
  });

  it("finds bytes and positions, within characters and beyond ends", async () => {
    const text = await read("aß\n🙂b");
    const at = (line: number, character: number) => text.byteAt({ line, character });
    assert.deepEqual([at(0, 0), at(0, 1), at(0, 2), at(0, 9)], [0, 1, 3, 3]);
    assert.deepEqual([at(1, 0), at(1, 1), at(1, 2), at(1, 3), at(7, 0)], [4, 4, 8, 9, 9]);
    assert.deepEqual(
      [0, 3, 4, 8].map((byte) => text.positionAt(byte)),
      [
        { line: 0, character: 0 },
        { line: 0, character: 2 },
        { line: 1, character: 0 },
        { line: 1, character: 2 },
      ],
    );
  });

  it("keeps bytes and lines in step with any edits", async () => {
    const piece = fc.oneof(fc.constantFrom("a", "ß", "語", "🙂", "\n", "\r\n", " x", ""), fc.string({ maxLength: 4 }));
    const content = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join("").replace(/\r(?!\n)/g, ""));
    const edit = fc.tuple(fc.nat(60), fc.nat(8), content);
    await fc.assert(
      fc.asyncProperty(content, fc.array(edit, { maxLength: 6 }), async (start, edits) => {
        let document = TextDocument.create("file:///a", "x", 1, start);
        const text = await read(start);
        for (const [at, length, inserted] of edits) {
          const whole = document.getText();
          const from = onCharacter(whole, at % (whole.length + 1));
          const to = onCharacter(whole, Math.min(whole.length, from + length));
          const range = { start: document.positionAt(from), end: document.positionAt(Math.max(from, to)) };
          const change = { range, text: inserted };
          text.change(change, text.version + 1);
          document = TextDocument.update(document, [change], text.version);
          await text.buffer.settle();
          assert.equal(Buffer.from(text.buffer.bytes()).toString(), document.getText().replace(/\r\n?/g, "\n"));
          assert.equal(text.lineCount, document.lineCount);
        }
        const fresh = await read(document.getText());
        const all = { from: 0, to: document.lineCount };
        assert.deepEqual(text.views(all), fresh.views(all));
      }),
    );
  });

  it("takes a whole new text", async () => {
    const text = await read("ab\ncd");
    assert.deepEqual(text.change({ text: "x\r\ny\nz" }, 2), { lines: { from: 0, to: 3 }, added: 1 });
    assert.deepEqual([Buffer.from(text.buffer.bytes()).toString(), text.lineCount], ["x\ny\nz", 3]);
  });
});

describe("asRead", () => {
  it("has line ends of one byte, and a mark for half a character", () => {
    assert.equal(asRead("a\r\nb\rc\ud800").toString(), "a\nb\nc\ufffd");
  });
});

/** Not between the halves of a line end or of a character. */
function onCharacter(text: string, at: number): number {
  const before = text.charCodeAt(at - 1);
  const isInside = (text[at - 1] === "\r" && text[at] === "\n") || (before >= 0xd800 && before < 0xdc00);
  return isInside ? at - 1 : at;
}
