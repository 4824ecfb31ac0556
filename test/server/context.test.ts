import assert from "node:assert/strict";
import fc from "fast-check";
import { byteLength, type Context, contextAt, roomierStart, windowStart } from "../../server/context";
import { Documents } from "../../server/documents";

const uri = "file:///a.ts";

function contextOf(text: string, offset: number, maxBytes = 4096) {
  const documents = new Documents();
  documents.didOpen({ textDocument: { uri, languageId: "typescript", version: 1, text } });
  return contextAt(documents.get(uri)!, { from: offset, to: offset, selected: "" }, maxBytes);
}

function check(marked: string, expected: object): void {
  const offset = marked.indexOf("|");
  const context = contextOf(marked.replace("|", ""), offset);
  for (const [name, value] of Object.entries(expected)) assert.equal(context[name as keyof typeof context], value);
}

describe("context", () => {
  it("is the text before the cursor, the rest of the line and the lines below", () =>
    check("a\nb|c\nd\ne", { text: "a\nb", lineRest: "c", following: "d\ne", eol: "\n" }));
  it("may be empty", () => check("|", { text: "", lineRest: "", following: "", eol: "\n" }));
  it("has line ends as models know them, and gives back the document's", () =>
    check("a\r\nb|c\r\n\r\nd", { text: "a\nb", source: "a\r\nb", lineRest: "c", following: "\nd", eol: "\r\n" }));
  it("knows old line ends", () => check("a\rb|c\rd", { text: "a\nb", lineRest: "c", following: "d", eol: "\n" }));
  it("takes the line end from further down when there is none above", () => check("a|\r\nb", { eol: "\r\n" }));
  it("takes the line end nearest above when they differ", () => check("a\r\nb\nc|\r\n", { eol: "\n" }));
  it("leaves out a byte order mark", () => check("\uFEFFa|", { text: "a", source: "\uFEFFa" }));
  it("keeps characters beyond the basic plane whole", () => check("😀|😀", { text: "😀", lineRest: "😀" }));
  it("ends with the selected completion in place of what it would replace", () => {
    const documents = new Documents();
    documents.didOpen({ textDocument: { uri, languageId: "typescript", version: 1, text: "a.fo)" } });
    const context = contextAt(documents.get(uri)!, { from: 2, to: 4, selected: "forEach" }, 4096);
    assert.equal(context.text, "a.forEach");
    assert.equal(context.source, "a.");
    assert.equal(context.lineRest, ")");
  });
  it("looks a bounded way behind the cursor", () => {
    assert.equal(contextOf(`a\n${"b\n".repeat(5000)}`, 1).following.length < 2001, true);
  });
});

describe("what follows the cursor", () => {
  const lines = Array.from({ length: 200 }, (_, i) => `line ${i};`);
  const text = lines.join("\n");
  const at = (line: number) => text.indexOf(`line ${line};`) + 4;

  function opened(contents = text) {
    const documents = new Documents();
    documents.didOpen({ textDocument: { uri, languageId: "typescript", version: 1, text: contents } });
    let version = 1;
    return {
      context: (offset: number) => contextAt(documents.get(uri)!, { from: offset, to: offset, selected: "" }, 4096),
      insert(offset: number, inserted: string) {
        const position = documents.get(uri)!.text!.positionAt(offset);
        const contentChanges = [{ range: { start: position, end: position }, text: inserted }];
        documents.didChange({ textDocument: { uri, version: ++version }, contentChanges });
      },
    };
  }

  /** The lines behind what follows, and what follows. */
  function seen({ text: before, suffix }: Context): [string, string] {
    return [before.slice(suffix!.near), suffix!.following];
  }

  it("is the lines below the cursor's, whole ones, and stands before the last lines", () => {
    const [near, following] = seen(opened().context(at(100)));
    assert.match(near, /^line 6\d;\n.*\nline$/s);
    assert.match(following, /^\nline 101;\n.*\nline 13\d;\n$/s);
  });

  it("is empty at the end of the file, where all of a short text stands behind it", () => {
    assert.deepEqual(seen(opened("a\nb").context(3)), ["a\nb", ""]);
    assert.deepEqual(seen(opened("a\nb").context(1)), ["a", "\nb"]);
  });

  it("stays while text is typed there, new lines too, and an edit above moves it along", () => {
    const document = opened();
    const [near, following] = seen(document.context(at(100)));
    document.insert(at(100), " x\n  y");
    assert.deepEqual(seen(document.context(at(100) + 6)), [`${near} x\n  y`, following]);
    document.insert(0, "// above\n");
    assert.deepEqual(seen(document.context(at(100) + 15)), [`${near} x\n  y`, following]);
  });

  it("is another at another place, and where lines below are others", () => {
    const document = opened();
    const [near, following] = seen(document.context(at(100)));
    const [otherNear, otherFollowing] = seen(document.context(at(103)));
    assert.notEqual(otherNear.slice(0, 20), near.slice(0, 20));
    assert.match(otherFollowing, /^\nline 104;/);
    assert.deepEqual(seen(document.context(at(100))), [near, following]);
    document.insert(at(101) - 4, "new below\n");
    assert.match(seen(document.context(at(100)))[1], /^\nnew below\nline 101;/);
  });

  it("is another when the lines before it are edited or much has been typed", () => {
    const document = opened();
    document.context(at(100));
    document.insert(at(100), "x".repeat(3000));
    const context = document.context(at(100) + 3000);
    assert.ok(seen(context)[0].length < 500);
  });
});

describe("roomier window", () => {
  const text = "0123456789abcde\n".repeat(1000);

  it("is not needed where the text begins in the window and there is room", () =>
    assert.equal(roomierStart(text, 2000, 4096, 0), null));
  it("has half of the allowed size, at a line's start", () => assert.equal(roomierStart(text, 8000, 4096, 7040), 5952));
  it("is the whole text before the cursor when that is not much more", () =>
    assert.equal(roomierStart(text, 3000, 4096, 2048), 0));
  it("replaces one that is nearly full", () => assert.equal(roomierStart(text, 8000, 4096, 8000 - 3800), 5952));
  it("is not needed between", () => assert.equal(roomierStart(text, 8000, 4096, 6000), null));
});

describe("byte length", () => {
  it("counts UTF-8, a lone surrogate as U+FFFD", () => {
    for (const text of ["a", "é", "€", "😀", "\uD83D", "\uDE00x", "\uDE00\uD83D"]) {
      assert.equal(byteLength(text), new TextEncoder().encode(text).length);
    }
    assert.deepEqual([...new TextEncoder().encode("\uD83D")], [0xef, 0xbf, 0xbd]);
  });
});

describe("window", () => {
  const text = Array.from({ length: 200 }, (_, line) => `line ${line} of text`).join("\n");

  it("is the whole text while it fits", () => assert.equal(windowStart(text, 1000, 1000, null), 0));
  it("is half full, from a line's start, when the text does not fit", () => {
    const start = windowStart(text, 2000, 1000, null);
    assert.equal(text[start - 1], "\n");
    assert.ok(2000 - start <= 500 && 2000 - start > 450, `${start}`);
  });
  it("stays until it is full", () => {
    const start = windowStart(text, 2000, 1000, null);
    assert.equal(windowStart(text, start + 1000, 1000, start), start);
    assert.notEqual(windowStart(text, start + 1001, 1000, start), start);
  });
  it("is placed anew for a cursor before it or close behind it", () => {
    assert.ok(windowStart(text, 1999, 1000, 2000) < 1999);
    assert.ok(windowStart(text, 2010, 1000, 2000) < 2000);
  });
  it("begins inside a line that is longer than it", () => {
    assert.equal(windowStart("x".repeat(5000), 4000, 1000, null), 3500);
  });
  it("begins at a whole character", () => {
    for (const offset of [3000, 3002]) {
      const start = windowStart("😀".repeat(3000), offset, 1002, null);
      assert.equal(start % 2, 0);
    }
  });

  it("is never longer than allowed, at a whole character, and moves only when it must", () => {
    const character = fc.constantFrom("a", " ", "\n", "é", "€", "😀", "\uD83D");
    const anyText = fc.array(character, { maxLength: 400 }).map((list) => list.join(""));
    fc.assert(
      fc.property(anyText, fc.nat(1000), fc.nat(1000), fc.integer({ min: 16, max: 300 }), (text, a, b, maxBytes) => {
        const [from, to] = [a, b].map((offset) => Math.min(offset, text.length)).sort((x, y) => x - y);
        const start = windowStart(text, from, maxBytes, null);
        const next = windowStart(text, to, maxBytes, start);
        for (const [at, offset] of [
          [start, from],
          [next, to],
        ]) {
          assert.ok(at >= 0 && at <= offset);
          assert.ok(byteLength(text.slice(at, offset)) <= maxBytes);
          const insidePair = /[\uD800-\uDBFF]/.test(text[at - 1] ?? "") && /[\uDC00-\uDFFF]/.test(text[at] ?? "");
          assert.equal(insidePair, false);
        }
        // At least a quarter of the window is used where there is text.
        if (byteLength(text.slice(0, to)) > maxBytes && next !== start) {
          assert.ok(byteLength(text.slice(next, to)) >= maxBytes / 8);
        }
      }),
    );
  });
});
