import assert from "node:assert/strict";
import { goldenCases, goldenDirectory, goldenNames } from "../../helpers/golden";
import { distance, useCli } from "./cli";

describe("blt logits", () => {
  const cli = useCli();
  const k2 = ["--model", goldenDirectory("k2")];

  it("gives the numbers of the reference implementations", async () => {
    for (const name of goldenNames) {
      // Windows of other widths cannot be asked for on the command line.
      for (const golden of goldenCases(name).filter((one) => (one.patcher_window ?? 512) === 512)) {
        const { semantics, tokens, override } = golden;
        const longest = override === undefined ? [] : ["--max-patch-length", `${override.max_patch_length}`];
        const args = ["--ids", tokens.join(","), "--model", goldenDirectory(name), "--semantics", semantics];
        const result = await cli.json(["logits", ...args, ...longest]);
        assert.deepEqual(Object.keys(result), ["logits", "entropies", "patchLengths"]);
        assert.deepEqual(result.patchLengths, golden.patch_lengths_with_next);
        assert.ok(distance(result.entropies, golden.entropies) < 1e-4);
        assert.deepEqual([result.logits.length, result.logits[0].length], [tokens.length, 260]);
        assert.ok(distance(result.logits.flat(), golden.logits.flat()) < 1e-4);
      }
    }
  });

  it("has no entropies in a mode without", async () => {
    const { entropies, patchLengths } = await cli.json(["logits", "--ids", "1, 76,105", ...k2, "--mode", "byte"]);
    assert.deepEqual([entropies, patchLengths], [null, [1, 1, 1, 1]]);
  });

  it("refuses what is no id", async () => {
    await cli.refused(["logits", "--ids", "1,260", ...k2], /--ids must be whole numbers from 0 to 259, not "260"/);
    await cli.refused(["logits", "--ids", "1,-3", ...k2], /not "-3"/);
    await cli.refused(["logits", "--ids=", ...k2], /not ""/);
    await cli.refused(["logits", ...k2], /There are no ids; give some as in --ids 1,76,105/);
  });
});
