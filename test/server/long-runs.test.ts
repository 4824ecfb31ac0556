import assert from "node:assert/strict";
import { join } from "node:path";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import { hasMemoryToSpare, prepareLongRuns } from "../../server/long-runs";

const GiB = 2 ** 30;

describe("preparing a model for long texts", () => {
  it("is for machines with memory to spare", () => {
    const spares = (total: number, free: number, platform: NodeJS.Platform = "linux") =>
      hasMemoryToSpare({ total: total * GiB, free: free * GiB, platform });
    assert.equal(spares(16, 4), true);
    assert.equal(spares(16, 1), false);
    assert.equal(spares(4, 3), false);
    assert.equal(spares(16, 0.1, "darwin"), true);
  });

  it("waits until nobody waits, and leaves models that have no use for it", async () => {
    for (const name of ["k2", "lexicon/plain"]) {
      const model = await loadModel(openModel(join(__dirname, "../golden", name)), { device: "cpu", threads: 1 });
      await prepareLongRuns(model, () => assert.fail("nothing to wait for"));
      await model.release();
    }
  });
});
