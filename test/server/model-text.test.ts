import assert from "node:assert/strict";
import { bytesOf, type ModelText, shortPath } from "../../server/model-text";

const marks = { path: 31, suffix: 28, prefix: 30 };
const place: ModelText = {
  front: "other();\n\n",
  path: "src/a.ts",
  text: "let a = 1;\nlet b = ",
  suffix: { following: "\nend();\n", near: 11 },
};

function read(text: ModelText, withMarks: typeof marks | null = marks): string {
  return Buffer.from(bytesOf(text, withMarks))
    .toString()
    .replaceAll("\x1f", "<PATH>")
    .replaceAll("\x1c", "<SUFFIX>")
    .replaceAll("\x1e", "<PREFIX>");
}

describe("what a model reads", () => {
  it("has the suffix before the last lines, each part behind its mark", () => {
    assert.equal(read(place), "other();\n\n<PATH>src/a.ts<PREFIX>let a = 1;\n<SUFFIX>\nend();\n<PREFIX>let b = ");
    assert.equal(read({ ...place, path: "", suffix: null }), "other();\n\nlet a = 1;\nlet b = ");
    assert.equal(
      read({ ...place, front: "", text: "", suffix: { following: "", near: 0 } }),
      "<PATH>src/a.ts<PREFIX><SUFFIX><PREFIX>",
    );
  });

  it("is front and text for a model that knows no marks", () =>
    assert.equal(read(place, null), "other();\n\nlet a = 1;\nlet b = "));

  it("keeps marks that stand in a text itself out of it", () => {
    const text = "let s = '\x1c\x1e';\nlet b = ";
    assert.equal(
      read({ ...place, front: "\x1f", text, suffix: { following: "\x1e!", near: 14 } }),
      "<PATH>src/a.ts<PREFIX>let s = '';\n<SUFFIX>!<PREFIX>let b = ",
    );
    assert.equal(Buffer.from(bytesOf({ ...place, text }, null)).toString(), `other();\n\n${text}`);
  });
});

describe("a document's path for the model", () => {
  for (const [uri, path] of [
    ["file:///home/a/project/src/lib/a%20b.ts", "src/lib/a b.ts"],
    ["file:///C%3A/a.ts", "C:/a.ts"],
    ["untitled:Untitled-1", "Untitled-1"],
    ["vscode-notebook-cell:/notes/book.ipynb#W0", "notes/book.ipynb"],
    ["file:///a%ZZ.ts", "a%ZZ.ts"],
    ["", ""],
  ])
    it(`of ${uri || "nothing"} is its last names`, () => assert.equal(shortPath(uri), path));
});
