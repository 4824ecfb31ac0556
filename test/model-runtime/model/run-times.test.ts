import assert from "node:assert/strict";
import { RunTimes } from "../../../model-runtime/model/run-times";

/** Runs of two to nine positions in turn, of which one of n takes `ms(n)`. */
function learned(times: RunTimes, runs: number, ms: (positions: number) => number): RunTimes {
  for (let i = 0; i < runs; i++) times.learn(2 + (i % 8), ms(2 + (i % 8)));
  return times;
}

function checkShares(times: RunTimes, run: number, position: number) {
  const { shares } = times;
  assert.ok(Math.abs(shares!.run - run) < 1e-9 && Math.abs(shares!.position - position) < 1e-9, JSON.stringify(shares));
}

describe("times of runs", () => {
  it("are a line: what several positions cost at once, and each further one", () => {
    const times = new RunTimes();
    times.learn(1, 10);
    checkShares(
      learned(times, 24, (n) => 13 + 1.4 * (n - 1)),
      0.3,
      0.14,
    );
  });

  it("say nothing before there are enough, of several lengths and beside one of one position", () => {
    assert.equal(learned(new RunTimes(), 24, (n) => n).shares, null);
    const few = new RunTimes();
    few.learn(1, 10);
    assert.equal(learned(few, 8, (n) => 10 + n).shares, null);
    const alike = new RunTimes();
    alike.learn(1, 10);
    for (let i = 0; i < 40; i++) alike.learn(2, 12);
    assert.equal(alike.shares, null);
  });

  it("are never gains, and follow a machine that becomes another", () => {
    const times = new RunTimes();
    times.learn(1, 10);
    const falling = learned(times, 24, (n) => 10 - n).shares!;
    assert.deepEqual([falling.run, falling.position], [0, 0.02]);
    checkShares(
      learned(times, 2000, (n) => 15 + 2 * (n - 1)),
      0.5,
      0.2,
    );
  });
});
