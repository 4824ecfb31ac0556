import assert from "node:assert/strict";
import fc from "fast-check";
import { DistinctTexts } from "../../../model-runtime/ngram/distinct-texts";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf } from "./samples";

describe("DistinctTexts", () => {
  it("have after any changes each text of a file in the index once", () => {
    const path = fc.constantFrom("a", "b", "c", "d");
    const step = fc.oneof(
      fc.record({ path, text: fc.constantFrom("one text", "another", "a third") }),
      fc.record({ path, text: fc.constant(null) }),
      fc.record({ path: fc.constant(null), text: fc.constantFrom("ab", "cd", "a") }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const index = new WorkspaceIndex();
        const texts = new DistinctTexts(index);
        const files = new Map<string, string>();
        for (const { path, text } of steps) {
          if (path === null) {
            texts.retain((each) => text!.includes(each));
            for (const each of [...files.keys()]) if (!text!.includes(each)) files.delete(each);
          } else if (text === null) {
            texts.remove(path);
            files.delete(path);
          } else {
            texts.set(path, bytesOf(text));
            files.set(path, text);
          }
          const counted = index.paths.map((each) => [each, Buffer.from(index.read(each)!).toString()]);
          assert.deepEqual(counted.map(([, each]) => each).sort(), [...new Set(files.values())].sort());
          for (const [each, its] of counted) assert.equal(files.get(each), its);
          assert.deepEqual(texts.paths.sort(), [...files.keys()].sort());
        }
      }),
    );
  });
});
