import assert from "node:assert/strict";
import { hasMemoryToSpare } from "../../server/spare-memory";

const GiB = 2 ** 30;

describe("hasMemoryToSpare", () => {
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
});
