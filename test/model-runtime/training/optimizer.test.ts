import assert from "node:assert/strict";
import { AdamW, defaultAdam, initialState, rateAt } from "../../../model-runtime/training/optimizer";

/** AdamW written out, in double precision. */
function reference(start: number[], gradients: number[][], rate: number): number[] {
  const { beta1, beta2, epsilon, weightDecay, clipNorm } = defaultAdam;
  const [values, first, second] = [[...start], start.map(() => 0), start.map(() => 0)];
  gradients.forEach((gradient, t) => {
    const norm = Math.hypot(...gradient);
    const share = Math.min(1, clipNorm / norm);
    gradient.forEach((raw, i) => {
      const g = raw * share;
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      const [m, v] = [first[i] / (1 - beta1 ** (t + 1)), second[i] / (1 - beta2 ** (t + 1))];
      values[i] -= rate * (m / (Math.sqrt(v) + epsilon) + weightDecay * values[i]);
    });
  });
  return values;
}

describe("AdamW", () => {
  it("takes the steps of the published rule, long gradients shortened", async () => {
    const start = [0.5, -1, 2, 0];
    const gradients = [
      [0.1, -0.2, 0.3, 0],
      [3, 4, 0, 0],
      [-0.1, 0.2, 0.1, 0.5],
    ];
    const adam = await AdamW.load(4, defaultAdam, { device: "cpu" });
    let state = initialState(Float32Array.from(start));
    const norms: number[] = [];
    for (const gradient of gradients) {
      const taken = await adam.step(state, Float32Array.from(gradient), 0.01);
      state = taken.state;
      norms.push(taken.norm);
    }
    await adam.release();
    reference(start, gradients, 0.01).forEach((value, i) => {
      assert.ok(Math.abs(state.parameters[i] - value) < 1e-5, `${state.parameters[i]}, but ${value}`);
    });
    assert.equal(state.step, 3);
    assert.ok(Math.abs(norms[1] - 5) < 1e-5);
  });

  it("shows a gradient that is not a number in its norm", async () => {
    const adam = await AdamW.load(1, defaultAdam, { device: "cpu" });
    const { norm } = await adam.step(initialState(Float32Array.of(1)), Float32Array.of(Number.NaN), 0.01);
    assert.ok(Number.isNaN(norm));
    await adam.release();
  });

  it("has a rate that rises, then falls to a tenth", () => {
    assert.ok(rateAt(0, 1, 0.1) < 0.02);
    assert.ok(Math.abs(rateAt(0.05, 1, 0.1) - 0.5) < 1e-9);
    assert.equal(rateAt(0.1, 1, 0.1), 1);
    assert.ok(Math.abs(rateAt(1, 1, 0.1) - 0.1) < 1e-9);
    assert.equal(rateAt(7, 1, 0.1), rateAt(1, 1, 0.1));
  });
});
