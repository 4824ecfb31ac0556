import assert from "node:assert/strict";
import { progressLine } from "../../../client/model-download/progress-line";

describe("progress line", () => {
  function lines(...states: [seconds: number, megabytes: number, doing?: string][]): (string | null)[] {
    const line = progressLine();
    return states.map(([seconds, megabytes, doing = "model"]) =>
      line({ bytes: megabytes * 1e6, total: 4e9, doing }, seconds * 1000),
    );
  }

  it("says how much of how much, and of what", () => assert.deepEqual(lines([0, 1]), ["1.0 MB of 4.00 GB: model"]));
  it("says how fast, once that is known", () =>
    assert.equal(lines([0, 100], [1, 112])[1], "112.0 MB of 4.00 GB, 12.0 MB/s: model"));
  it("measures the speed of late", () =>
    assert.match(lines([0, 0], [10, 100], [12, 300], [14, 500])[3] ?? "", /, 100\.0 MB\/s/));
  it("does not change too often", () => assert.deepEqual(lines([0, 1], [0.1, 2])[1], null));
  it("changes at once when something else is done", () =>
    assert.equal(lines([0, 1], [0.1, 2, "checking"])[1], "2.0 MB of 4.00 GB: checking"));
  it("has no amounts before the size is known", () =>
    assert.equal(progressLine()({ bytes: 0, total: 0, doing: "trying again" }, 0), "trying again"));
  it("has no speed below nothing when a file is begun anew", () =>
    assert.equal(lines([0, 100], [1, 10])[1], "10.0 MB of 4.00 GB: model"));
});
