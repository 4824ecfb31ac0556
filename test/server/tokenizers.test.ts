import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cl100k, o200k, tokenizerOfFile } from "../../server/tokenizers";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";

describe("tokenizers", () => {
  const path = useTemporaryFolder();

  function tokens(cut: (text: string) => Uint32Array, text: string): string[] {
    const bytes = Buffer.from(text);
    const starts = [...cut(text), bytes.length];
    return starts.slice(1).map((end, i) => bytes.subarray(starts[i], end).toString("latin1"));
  }
  const latin = (text: string) => Buffer.from(text).toString("latin1");

  it("cut as their models do", () => {
    // tiktoken: cl100k [4438, 656, 499, 656, 30], o200k [5299, 621, 481, 621, 30].
    for (const cut of [cl100k, o200k])
      assert.deepEqual(tokens(cut, "How do you do?"), ["How", " do", " you", " do", "?"]);
    assert.deepEqual(tokens(cl100k, "    return"), ["   ", " return"]);
  });

  it("cut through characters where their tokens do, and take what looks special as text", () => {
    for (const cut of [cl100k, o200k]) {
      const text = "naïve 語 👩‍👩‍👧 <|endoftext|>";
      assert.equal(tokens(cut, text).join(""), latin(text));
      assert.ok(tokens(cut, "👩‍👩‍👧").length > 1);
      assert.equal(cut("").length, 0);
      assert.ok(tokens(cut, "<|endoftext|>").length > 1);
    }
  });

  it("reads a tokenizer.json of the user's", () => {
    const cut = tokenizerOfFile(join(__dirname, "../../models/default/tokenizer.json"));
    const text = "def area(self):\n    return naïve 語\n";
    assert.equal(tokens(cut, text).join(""), latin(text));
    assert.deepEqual(tokens(cut, text).slice(0, 3), ["def", " area", "("]);
  });

  it("refuse what is no byte-level BPE in a sentence", () => {
    assert.throws(
      () => tokenizerOfFile(path("none.json")),
      /none\.json cannot be read \(there is no such file\); choose/,
    );
    writeFileSync(path("a.json"), "{");
    assert.throws(() => tokenizerOfFile(path("a.json")), /a\.json cannot be read/);
    writeFileSync(path("b.json"), JSON.stringify({ model: { type: "WordPiece" } }));
    assert.throws(() => tokenizerOfFile(path("b.json")), /holds no byte-level BPE/);
  });
});
