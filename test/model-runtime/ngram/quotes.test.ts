import assert from "node:assert/strict";
import { quotedFrom } from "../../../model-runtime/ngram/quotes";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf } from "./samples";

describe("quotes from the workspace", () => {
  const index = new WorkspaceIndex();
  const util =
    "import { join } from 'node:path';\n\nexport function rootOf(path: string): string {\n  return join(path, '..');\n}\n";
  index.set("src/util.ts", bytesOf(util));
  index.set("src/other.ts", bytesOf("export function rootOf(path: URL) {}\n"));

  it("name the place of a text that stands there verbatim, and only then", () => {
    const quote = "string {\n  return join(path, '..');";
    assert.deepEqual(quotedFrom(index, bytesOf(quote)), { path: "src/util.ts", offset: util.indexOf(quote) });
    assert.equal(quotedFrom(index, bytesOf(quote.replace("string", "strong"))), null);
    assert.equal(quotedFrom(index, bytesOf("return join(pat")), null, "too short");
    assert.equal(quotedFrom(index, bytesOf(`${" ".repeat(40)}return`)), null, "white space");
    assert.equal(quotedFrom(index, bytesOf("x".repeat(100))), null);
  });
});
