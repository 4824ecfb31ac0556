import assert from "node:assert/strict";
import { RunTimes } from "../../../model-runtime/model/run-times";

/** Runs of two to nine positions in turn, of which one of n takes `ms(n)`. */
function learned(times: RunTimes, runs: number, ms: (positions: number) => number): RunTimes {
  for (let i = 0; i < runs; i++) times.learn(2 + (i % 8), ms(2 + (i % 8)));
  return times;
}

/** What is believed of runs before any was timed. */
const believed = { run: 0.2, position: 0.1 };

function checkShares(times: RunTimes, run: number, position: number, within = 1e-9) {
  const { shares } = times;
  const off = Math.max(Math.abs(shares.run - run), Math.abs(shares.position - position));
  assert.ok(off <= within, JSON.stringify(shares));
}

describe("times of runs", () => {
  it("are what is believed until some have been timed, beside one of one position", () => {
    const times = new RunTimes(believed);
    checkShares(times, 0.2, 0.1);
    checkShares(
      learned(times, 24, (n) => n),
      0.2,
      0.1,
    );
  });

  it("become a line: what several positions cost at once, and each further one", () => {
    const times = new RunTimes(believed);
    times.learn(1, 10);
    const line = (n: number) => 13 + 1.4 * (n - 1);
    const few = learned(times, 8, line).shares;
    assert.ok(few.position > 0.1 && few.position < 0.14, JSON.stringify(few));
    checkShares(learned(times, 2000, line), 0.3, 0.14, 0.1);
  });

  it("say of runs of one length only that they are dearer or cheaper", () => {
    const times = new RunTimes(believed);
    times.learn(1, 10);
    for (let i = 0; i < 40; i++) times.learn(4, 25);
    const { run, position } = times.shares;
    assert.ok(run + 3 * position > 1, JSON.stringify({ run, position }));
  });

  it("hardly change for a run that was stopped", () => {
    const times = new RunTimes(believed);
    times.learn(1, 10);
    learned(times, 40, (n) => 12 + n - 2);
    const { run, position } = times.shares;
    times.learn(1, 500);
    times.learn(4, 500);
    checkShares(times, run, position, 0.06);
  });

  it("are never gains, and follow a machine that becomes another", () => {
    const times = new RunTimes(believed);
    times.learn(1, 10);
    const falling = learned(times, 2000, (n) => 10 - n).shares;
    assert.deepEqual([falling.run, falling.position], [0, 0.02]);
    checkShares(
      learned(times, 2000, (n) => 15 + 2 * (n - 1)),
      0.5,
      0.2,
      0.3,
    );
  });
});
