/** 16-bit floating point: IEEE half (F16) and bfloat16 (BF16, the upper half of an F32), as bit patterns. */

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

let halfTable: Float32Array | undefined;

/** Value of every F16 bit pattern [65536]; built once, at the first use. */
export function halfValues(): Float32Array {
  return (halfTable ??= Float32Array.from({ length: 65536 }, (_, bits) => halfValue(bits)));
}

/** Nearest F16 of a finite number, ties to even; beyond the range (65504) it is infinity. */
export function toHalf(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) return magnitude > 0x7f800000 ? sign | 0x7e00 : sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2^-14 an F16 counts in steps of 2^-24; scaling by 2^24 is exact.
    return sign | roundToEven(Math.abs(scratch[0]) * 2 ** 24);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** Nearest BF16 of a number, ties to even. */
export function toBfloat(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0];
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Value of a BF16 bit pattern. */
export function bfloatValue(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0];
}

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** The nearest whole number, halves to the even one. */
export function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
