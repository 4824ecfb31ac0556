import assert from "node:assert/strict";
import fc from "fast-check";
import { bfloatValue, halfValues, toBfloat, toHalf } from "../../../model-runtime/checkpoint/half";

const finiteBits = (exponent: number) =>
  fc.integer({ min: 0, max: 0xffff }).filter((bits) => (bits & exponent) !== exponent);
// The largest BF16; beyond it there is only infinity.
const largest = 0xff * 2 ** 120;
const float = fc.float({ min: -largest, max: largest, noNaN: true });

/** No neighbour of the chosen value is nearer, and of two equally near ones the even one is chosen. */
function checkNearest(value: number, bits: number, decode: (bits: number) => number) {
  const error = Math.abs(decode(bits) - value);
  for (const neighbour of [bits - 1, bits + 1]) {
    if ((neighbour & 0x7fff) === 0x7fff || (neighbour ^ bits) & 0x8000 || !Number.isFinite(decode(neighbour))) continue;
    const other = Math.abs(decode(neighbour) - value);
    assert.ok(
      error < other || (error === other && bits % 2 === 0),
      `${value}: ${decode(bits)} or ${decode(neighbour)}`,
    );
  }
}

describe("16-bit floating point", () => {
  it("knows the values of F16", () => {
    const values = halfValues();
    const known: [number, number][] = [
      [0, 0],
      [0x3c00, 1],
      [0xc000, -2],
      [0x3555, 0.333251953125],
      [0x7bff, 65504],
      [1, 2 ** -24],
      [0x03ff, 1023 * 2 ** -24],
      [0x0400, 2 ** -14],
      [0x7c00, Number.POSITIVE_INFINITY],
    ];
    for (const [bits, value] of known) assert.equal(values[bits], value);
    assert.ok(Number.isNaN(values[0x7e00]));
  });

  it("returns every F16 and BF16 from its value", () => {
    fc.assert(fc.property(finiteBits(0x7c00), (bits) => assert.equal(toHalf(halfValues()[bits]), bits)));
    fc.assert(fc.property(finiteBits(0x7f80), (bits) => assert.equal(toBfloat(bfloatValue(bits)), bits)));
  });

  it("rounds to the nearest, ties to even", () => {
    const inRange = fc.oneof(
      fc.float({ min: -65519, max: 65519, noNaN: true }),
      fc.float({ min: Math.fround(-(2 ** -13)), max: Math.fround(2 ** -13), noNaN: true }),
    );
    fc.assert(
      fc.property(inRange, (value) => checkNearest(value, toHalf(value), (bits) => halfValues()[bits])),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(float, (value) => checkNearest(value, toBfloat(value), bfloatValue)),
      { numRuns: 2000 },
    );
    assert.equal(halfValues()[toHalf(1 + 2 ** -11)], 1);
    assert.equal(halfValues()[toHalf(1 + 3 * 2 ** -11)], 1 + 2 ** -9);
    assert.equal(bfloatValue(toBfloat(1 + 2 ** -8)), 1);
    assert.equal(bfloatValue(toBfloat(1 + 3 * 2 ** -8)), 1 + 2 ** -6);
  });

  it("goes to infinity beyond the range and keeps NaN", () => {
    assert.equal(toHalf(65519.99), 0x7bff);
    assert.deepEqual([toHalf(65520), toHalf(-65520), toHalf(Number.POSITIVE_INFINITY)], [0x7c00, 0xfc00, 0x7c00]);
    assert.ok(Number.isNaN(halfValues()[toHalf(Number.NaN)]) && Number.isNaN(bfloatValue(toBfloat(Number.NaN))));
  });
});
