import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseCompletionMarks, readCompletionMarks } from "../../../model-runtime/checkpoint/completion-marks";
import { asFields } from "../../../model-runtime/checkpoint/json-fields";
import { useTemporaryFolder } from "./fixture";

describe("marks of a place in a file", () => {
  const path = useTemporaryFolder();
  const marks = { path: 31, suffix: 28, prefix: 30 };
  const parse = (lexicon: object) => parseCompletionMarks(asFields(lexicon, "config.json"));

  it("are three control bytes, or none are known", () => {
    assert.deepEqual(parse({ completion_marks: marks }), marks);
    assert.equal(parse({}), null);
    assert.throws(() => parse({ completion_marks: { ...marks, path: 65 } }), {
      name: "UserError",
      message: /"path" .* is 65/,
    });
    assert.throws(() => parse({ completion_marks: { path: 31 } }), { name: "UserError", message: /"suffix"/ });
  });

  it("are read from a model's folder, and none where it is no such model", () => {
    const folder = (name: string, config: string) => {
      mkdirSync(path(name));
      writeFileSync(join(path(name), "config.json"), config);
      return path(name);
    };
    assert.deepEqual(
      readCompletionMarks(folder("a", JSON.stringify({ lexicon_config: { completion_marks: marks } }))),
      marks,
    );
    for (const [name, config] of [
      ["b", "{}"],
      ["c", "no JSON"],
      ["d", '{"lexicon_config":{"completion_marks":{}}}'],
    ])
      assert.equal(readCompletionMarks(folder(name, config)), null);
    assert.equal(readCompletionMarks(path("missing")), null);
  });
});
