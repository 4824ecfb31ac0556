/** Kernels of one row's values between its products. Sizes are numbers of values, multiples of 4; pointers count bytes. */
import {
  advance,
  define,
  f32,
  f32x4,
  i32,
  i32x4,
  type Local,
  repeat,
  type Statement,
  type V128,
  v128,
} from "./assembler";

/** Added to a number below 2 ** 22, it leaves no bits for fractions, and the nearest whole number in the lowest ones. */
export const SHIFTER = 1.5 * 2 ** 23;

/** RMSNorm: `x` [width] -> `out` = x / sqrt(mean of squares + epsilon) * `weight`. */
export const rmsNorm = define(
  "rmsNorm",
  { x: "i32", weight: "i32", out: "i32", width: "i32", epsilon: "f32" },
  "none",
  ({ x, weight, out, width, epsilon }, local) => {
    const [pointer, end] = [local("i32"), local("i32")];
    const [sum, factor] = [local("v128"), local("v128")];
    const mean = f32.div(f32x4.lane(sum, 0), f32.ofUnsigned(width));
    return [
      end.set(i32.add(x, i32.shl(width, i32.const(2)))),
      pointer.set(x),
      repeat(pointer, end, 16, sum.set(f32x4.add(sum, f32x4.mul(v128.load(pointer), v128.load(pointer))))),
      ...addLanes(sum),
      factor.set(f32x4.splat(f32.div(f32.const(1), f32.sqrt(f32.add(mean, epsilon))))),
      repeat(
        x,
        end,
        16,
        v128.store(out, f32x4.mul(f32x4.mul(v128.load(x), factor), v128.load(weight))),
        advance(weight, 16),
        advance(out, 16),
      ),
    ];
  },
);

/** Adds `y` [width] to `x`. */
export const addTo = define("addTo", { x: "i32", y: "i32", width: "i32" }, "none", ({ x, y, width }, local) => {
  const end = local("i32");
  return [
    end.set(i32.add(x, i32.shl(width, i32.const(2)))),
    repeat(x, end, 16, v128.store(x, f32x4.add(v128.load(x), v128.load(y))), advance(y, 16)),
  ];
});

/** `gates` [width] and the values behind them [width]: each gate becomes silu(gate) * value. */
export const swiGlu = define("swiGlu", { gates: "i32", width: "i32" }, "none", ({ gates, width }, local) => {
  const [values, end] = [local("i32"), local("i32")];
  const x = local("v128");
  return [
    values.set(i32.add(gates, i32.shl(width, i32.const(2)))),
    end.set(values),
    repeat(
      gates,
      end,
      16,
      x.set(f32x4.sub(f32x4.const(0), v128.load(gates))),
      ...exponential(x, local),
      v128.store(gates, f32x4.mul(f32x4.div(v128.load(gates), f32x4.add(f32x4.const(1), x)), v128.load(values))),
      advance(values, 16),
    ),
  ];
});

/** Every lane of `x` becomes the sum of all four. */
export function addLanes(x: Local<"v128">): Statement[] {
  return reduceLanes(x, f32x4.add);
}

/** Every lane of `x` becomes the greatest of the four. */
export function greatestLane(x: Local<"v128">): Statement[] {
  return reduceLanes(x, f32x4.greater);
}

/**
 * The largest of some magnitudes in every lane of `largest`; NaN if one is NaN, whose bits are those of the largest number.
 * @param magnitudes float32 without signs
 */
export function largestMagnitude(largest: Local<"v128">, magnitudes: readonly V128[]): Statement[] {
  return [
    largest.set(magnitudes.reduce((most, magnitude) => i32x4.max(most, magnitude))),
    ...reduceLanes(largest, i32x4.max),
  ];
}

function reduceLanes(x: Local<"v128">, operation: (a: V128, b: V128) => V128): Statement[] {
  return [[2, 3, 0, 1] as const, [1, 0, 3, 2] as const].map((lanes) => x.set(operation(x, v128.shuffle(x, x, lanes))));
}

/**
 * `x` becomes e^x, within 2 units in the last place; 0 below -87, where float32 lose their digits, and for NaN; e^88 above 88.
 * x = n ln 2 + r, and e^r is a polynomial (Cephes, expf).
 * @param local makes variables to compute in
 */
export function exponential(x: Local<"v128">, local: (type: "v128") => Local<"v128">): Statement[] {
  const [isLarge, n, whole] = [local("v128"), local("v128"), local("v128")];
  const coefficients = [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5];
  const polynomial = coefficients
    .map(f32x4.const)
    .reduce((sum, coefficient) => f32x4.add(f32x4.mul(sum, x), coefficient));
  const power = i32x4.shl(i32x4.add(n, i32x4.splat(i32.const(127))), i32.const(23));
  const shifter = f32x4.const(SHIFTER);
  // ln 2 in two parts, the first of which times n is exact.
  const [ln2, rest] = [f32x4.const(0.693359375), f32x4.const(-2.1219444e-4)];
  return [
    isLarge.set(f32x4.greaterOrEqual(x, f32x4.const(-87))),
    x.set(f32x4.lesser(f32x4.greater(f32x4.const(-87), x), f32x4.const(88))),
    n.set(f32x4.add(f32x4.mul(x, f32x4.const(Math.LOG2E)), shifter)),
    whole.set(f32x4.sub(n, shifter)),
    x.set(f32x4.sub(f32x4.sub(x, f32x4.mul(whole, ln2)), f32x4.mul(whole, rest))),
    x.set(f32x4.add(f32x4.add(f32x4.mul(polynomial, f32x4.mul(x, x)), x), f32x4.const(1))),
    x.set(v128.and(f32x4.mul(x, power), isLarge)),
  ];
}
