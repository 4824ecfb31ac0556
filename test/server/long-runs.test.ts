import assert from "node:assert/strict";
import { join } from "node:path";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import { hasMemoryToSpare, prepareLongRuns } from "../../server/long-runs";

const GiB = 2 ** 30;

describe("preparing a model for long texts", () => {
  it("is for machines with memory to spare, more of it for a larger model", () => {
    const spares = (bytes: number, total: number, free: number, platform: NodeJS.Platform = "linux") =>
      hasMemoryToSpare(bytes, { total: total * GiB, free: free * GiB, platform });
    const [small, large] = [110e6, 6.5e9];
    assert.equal(spares(small, 16, 4), true);
    assert.equal(spares(small, 7, 2), true);
    assert.equal(spares(small, 16, 1), false);
    assert.equal(spares(small, 4, 3), false);
    assert.equal(spares(small, 16, 0.1, "darwin"), true);
    assert.equal(spares(large, 16, 12, "darwin"), false);
    assert.equal(spares(large, 32, 12), false);
    assert.equal(spares(large, 32, 16), true);
  });

  it("waits until nobody waits, and leaves models that have no use for it", async () => {
    for (const name of ["k2", "lexicon/plain"]) {
      const model = await loadModel(openModel(join(__dirname, "../golden", name)), { device: "cpu", threads: 1 });
      await prepareLongRuns(model, () => assert.fail("nothing to wait for"));
      await model.release();
    }
  });
});
