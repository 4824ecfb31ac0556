import assert from "node:assert/strict";
import { ThreadMonitor } from "../../server/measurements";

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("thread monitor", () => {
  it("tells how long the thread was blocked, and how much of it it computed", async () => {
    const monitor = new ThreadMonitor();
    monitor.read(true);
    await pause();
    for (const start = performance.now(); performance.now() - start < 60; );
    await pause();
    const { longestBlockMs, longestComputingMs } = monitor.read(true);
    assert.ok(longestBlockMs >= 50, `${longestBlockMs} ms`);
    if (process.platform === "linux")
      assert.ok(longestComputingMs! > 0 && longestComputingMs! <= longestBlockMs + 10, `${longestComputingMs} ms`);
    else assert.equal(longestComputingMs, null);
  });
  it("begins anew after a reset", async () => {
    const monitor = new ThreadMonitor();
    assert.equal(monitor.read(true).longestBlockMs, 0);
    for (const start = performance.now(); performance.now() - start < 60; );
    await pause();
    monitor.read(true);
    assert.equal(monitor.read(true).longestBlockMs, 0);
  });
});
