/** Rotation tables of the rotary position embedding (blt-spec section 5.2), computed once a position. */

/** Cosines and sines of some rows, [N, D/2] each. */
export interface Rotation {
  cos: Float32Array;
  sin: Float32Array;
}

/** Cosines and sines by position, grown as positions are asked for. Shapes: N rows, D head width. */
export class RotaryTable {
  private rows = 0;
  private cos = new Float32Array(0);
  private sin = new Float32Array(0);
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
    const width = this.inverseFrequencies.length;
    if (from + count > this.rows) this.grow(from + count);
    return {
      cos: this.cos.subarray(from * width, (from + count) * width),
      sin: this.sin.subarray(from * width, (from + count) * width),
    };
  }

  private grow(needed: number): void {
    const width = this.inverseFrequencies.length;
    const rows = Math.max(256, needed, this.rows * 2);
    const [cos, sin] = [new Float32Array(rows * width), new Float32Array(rows * width)];
    cos.set(this.cos);
    sin.set(this.sin);
    for (let position = this.rows; position < rows; position++)
      for (let pair = 0; pair < width; pair++) {
        const exact = position * this.inverseFrequencies[pair];
        const angle = this.isRelative ? exact : Math.fround(exact);
        cos[position * width + pair] = Math.cos(angle);
        sin[position * width + pair] = Math.sin(angle);
      }
    [this.cos, this.sin, this.rows] = [cos, sin, rows];
  }
}
