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

  for (const isRelative of [false, true])
    it(`takes no more room for late positions, ${isRelative ? "exact" : "rounded"} angles`, () => {
      const table = new RotaryTable(10000, 32, isRelative);
      for (const position of [2 ** 14 - 1, 2 ** 14, 2 ** 20]) {
        const { cos, sin } = table.slice(position - 1, 2);
        assert.ok(cos.buffer.byteLength <= 2 ** 20);
        for (let pair = 0; pair < 16; pair++) {
          const inverse = Math.fround(1 / Math.fround(10000 ** Math.fround(pair / 16)));
          const angle = isRelative ? position * inverse : Math.fround(position * inverse);
          assert.equal(cos[16 + pair], Math.fround(Math.cos(angle)));
          assert.equal(sin[16 + pair], Math.fround(Math.sin(angle)));
        }
      }
    });
});
