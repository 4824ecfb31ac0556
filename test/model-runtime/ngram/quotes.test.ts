import assert from "node:assert/strict";
import { continuation, quotedFrom } from "../../../model-runtime/ngram/quotes";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf } from "./samples";

describe("quotes from the workspace", () => {
  const index = new WorkspaceIndex();
  const util =
    "import { join } from 'node:path';\n\nexport function rootOf(path: string): string {\n  return join(path, '..');\n}\n";
  index.set("src/util.ts", bytesOf(util));
  index.set("src/other.ts", bytesOf("export function rootOf(path: URL) {}\n"));

  const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

  it("draft what followed the longest context", () => {
    const draft = continuation(index, bytesOf("// more\nexport function rootOf(path: s"), 12)!;
    assert.deepEqual([text(draft.bytes), draft.context], ["tring): stri", 31]);
  });

  it("draft from the latest of several places", () => {
    assert.equal(text(continuation(index, bytesOf("  function rootOf(path: "), 4)?.bytes), "URL)");
  });

  it("draft nothing where no long context is known, at a file's end, and in an empty workspace", () => {
    assert.equal(continuation(index, bytesOf("nothing of this is there"), 10), null);
    assert.equal(continuation(index, bytesOf("zz path"), 10), null);
    assert.equal(continuation(index, bytesOf("rootOf(path: URL) {}\n"), 10), null);
    assert.equal(continuation(new WorkspaceIndex(), bytesOf("export function "), 10), null);
    assert.equal(continuation(index, new Uint8Array(0), 10)?.context ?? 0, 32);
  });

  it("name the place of a text that stands there verbatim, and only then", () => {
    const quote = "string {\n  return join(path, '..');";
    assert.deepEqual(quotedFrom(index, bytesOf(quote)), { path: "src/util.ts", offset: util.indexOf(quote) });
    assert.equal(quotedFrom(index, bytesOf(quote.replace("string", "strong"))), null);
    assert.equal(quotedFrom(index, bytesOf("return join(pat")), null, "too short");
    assert.equal(quotedFrom(index, bytesOf(`${" ".repeat(40)}return`)), null, "white space");
    assert.equal(quotedFrom(index, bytesOf("x".repeat(100))), null);
  });
});
