import assert from "node:assert/strict";
import { RotaryTable } from "../../../model-runtime/model/rotary";

describe("RotaryTable", () => {
  for (const [theta, headDim, position] of [
    [10000, 8, 0],
    [10000, 8, 7],
    [500000, 64, 511],
  ] as const)
    it(`theta ${theta}, width ${headDim}, position ${position}`, () => {
      const { cos, sin } = new RotaryTable(theta, headDim).slice(position, 1);
      for (let pair = 0; pair < headDim / 2; pair++) {
        const angle = position * theta ** ((-2 * pair) / headDim);
        assert.ok(Math.abs(cos[pair] - Math.cos(angle)) < 1e-4, `cos ${pair}`);
        assert.ok(Math.abs(sin[pair] - Math.sin(angle)) < 1e-4, `sin ${pair}`);
      }
    });

  it("gives the same rows before and after it has grown", () => {
    const table = new RotaryTable(10000, 4);
    const before = Array.from(table.slice(3, 2).cos);
    table.slice(5000, 1);
    assert.deepEqual(Array.from(table.slice(3, 2).cos), before);
  });
});
