/** Rotation tables of the rotary position embedding (blt-spec section 5.2), held for the first positions. */

/** Cosines and sines of some rows, [N, D/2] each. */
export interface Rotation {
  cos: Float32Array;
  sin: Float32Array;
}

/**
 * Positions that are held; later ones are computed when they are asked for. A table of a million would take 128 MB at a head width
 * of 32, and 1.7 s where a text's end is all that is read.
 */
const HELD_POSITIONS = 2 ** 14;

/** Cosines and sines by position, held as positions are asked for. Shapes: N rows, D head width. */
export class RotaryTable {
  private rows = 0;
  private cos: Float32Array = new Float32Array(0);
  private sin: Float32Array = new Float32Array(0);
  private readonly inverseFrequencies: Float32Array;

  /**
   * @param isRelative angles are exact, so that results depend on the distance of positions alone and not on where a text
   *   begins; else they are rounded to float32 at each step, as the reference implementations compute them: at high
   *   positions the rounding is larger than the tolerance of our golden files
   */
  constructor(
    theta: number,
    headDim: number,
    private readonly isRelative = false,
  ) {
    this.inverseFrequencies = Float32Array.from(
      { length: headDim / 2 },
      (_, pair) => 1 / Math.fround(theta ** Math.fround((2 * pair) / headDim)),
    );
  }

  /** Rows of positions `from` to `from + count`. */
  slice(from: number, count: number): Rotation {
    const to = from + count;
    if (to > HELD_POSITIONS) return this.compute(from, to);
    if (to > this.rows) this.grow(to);
    const width = this.inverseFrequencies.length;
    return { cos: this.cos.subarray(from * width, to * width), sin: this.sin.subarray(from * width, to * width) };
  }

  private grow(needed: number): void {
    this.rows = Math.min(HELD_POSITIONS, Math.max(256, needed, this.rows * 2));
    ({ cos: this.cos, sin: this.sin } = this.compute(0, this.rows));
  }

  private compute(from: number, to: number): Rotation {
    const width = this.inverseFrequencies.length;
    const [cos, sin] = [new Float32Array((to - from) * width), new Float32Array((to - from) * width)];
    for (let position = from, i = 0; position < to; position++)
      for (let pair = 0; pair < width; pair++, i++) {
        const exact = position * this.inverseFrequencies[pair];
        const angle = this.isRelative ? exact : Math.fround(exact);
        cos[i] = Math.cos(angle);
        sin[i] = Math.sin(angle);
      }
    return { cos, sin };
  }
}
