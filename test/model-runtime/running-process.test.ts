import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { isRunning } from "../../model-runtime/running-process";

describe("isRunning", () => {
  it("knows processes that run, whoever's they are, from those that have ended and from what is no id", () => {
    assert.equal(isRunning(process.pid), true);
    assert.equal(isRunning(process.ppid), true);
    assert.equal(isRunning(spawnSync(process.execPath, ["-e", ""]).pid), false);
    for (const pid of [0, -1, Number.NaN]) assert.equal(isRunning(pid), false);
  });
});
