import assert from "node:assert/strict";
import { RunCurve } from "../../server/run-curve";

describe("curve of a run", () => {
  it("has every step while there are few", () => {
    const curve = new RunCurve();
    for (let step = 1; step <= 3; step++) curve.addLoss(step, 1 / step);
    curve.addHeldOut(3, 0.9);
    assert.deepEqual(curve.points, {
      loss: [
        [1, 1],
        [2, 0.5],
        [3, 1 / 3],
      ],
      heldOut: [[3, 0.9]],
    });
  });
  it("has means of neighbours when there are many", () => {
    const curve = new RunCurve();
    for (let step = 1; step <= 5000; step++) curve.addLoss(step, step);
    const { loss } = curve.points;
    assert.ok(loss.length > 100 && loss.length <= 400, `${loss.length} points`);
    for (const [step, value] of loss) assert.ok(Math.abs(step - value) <= 0.5);
    assert.deepEqual(
      loss.map(([step]) => step),
      [...loss.map(([step]) => step)].sort((a, b) => a - b),
    );
  });
});
