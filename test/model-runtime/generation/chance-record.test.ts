import assert from "node:assert/strict";
import { ChanceRecord } from "../../../model-runtime/generation/chance-record";

describe("a record of chances", () => {
  const record = () => new ChanceRecord([0.5, 0.9, 1], 10, 0.9);

  it("believes a chance until it has been compared, then what came", () => {
    const chances = record();
    assert.equal(chances.believed(0.8), 0.8);
    chances.learn(0.7, false);
    assert.equal(chances.believed(0.8), 8 / 11);
    chances.learn(0.6, true);
    assert.equal(chances.believed(0.8), 9 / 11.9);
  });

  it("learns for chances of the same class only, the last of which has no end", () => {
    const chances = record();
    chances.learn(1, false);
    assert.deepEqual(
      [0.4, 0.5, 0.89, 0.9, 1].map((chance) => chances.believed(chance)),
      [0.4, 0.5, 0.89, 9 / 11, 10 / 11],
    );
  });

  it("forgets what was long ago", () => {
    const chances = record();
    for (let i = 0; i < 200; i++) chances.learn(0.95, true);
    for (let i = 0; i < 200; i++) chances.learn(0.95, false);
    assert.ok(Math.abs(chances.believed(0.95) - 9.5 / 20) < 1e-6);
  });
});
