import assert from "node:assert/strict";
import { createRestartPolicy } from "../../client/restart-policy";

const minute = 60_000;

describe("restart policy", () => {
  /** Ends at the given times -> whether each is followed by a start. */
  function check(ends: number[], restarted: boolean[]) {
    const policy = createRestartPolicy();
    assert.deepEqual(
      ends.map((time) => policy.ended(time)),
      restarted,
    );
  }

  it("starts it again after the first two ends in a row, not after the third", () => {
    check([0, 10, 20], [true, true, false]);
  });
  it("forgets an end after three minutes", () => {
    check([0, 2 * minute, 4 * minute, 6 * minute], [true, true, true, true]);
  });
  it("counts the ends within three minutes only", () => {
    check([0, 2 * minute, 3 * minute, 3 * minute + 1], [true, true, true, false]);
  });
  it("begins anew when the user has started it", () => {
    const policy = createRestartPolicy();
    for (const time of [0, 1, 2]) policy.ended(time);
    policy.reset();
    assert.equal(policy.ended(3), true);
  });
});
