/** Rotation tables of the rotary position embedding (blt-spec section 5.2), computed once a position. */

/** Cosines and sines by position, grown as positions are asked for. Shapes: N rows, D head width. */
export class RotaryTable {
  private rows = 0;
  private cos = new Float32Array(0);
  private sin = new Float32Array(0);
  private readonly inverseFrequencies: Float32Array;

  constructor(theta: number, headDim: number) {
    // Rounded to float32 at each step, as the reference implementations compute it: at high positions the rounding
    // of the angle is larger than the tolerance of our golden files.
    this.inverseFrequencies = Float32Array.from(
      { length: headDim / 2 },
      (_, pair) => 1 / Math.fround(theta ** Math.fround((2 * pair) / headDim)),
    );
  }

  /** Rows of positions `from` to `from + count`: two of [N, D/2]. */
  slice(from: number, count: number): { cos: Float32Array; sin: Float32Array } {
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
        const angle = Math.fround(position * this.inverseFrequencies[pair]);
        cos[position * width + pair] = Math.cos(angle);
        sin[position * width + pair] = Math.sin(angle);
      }
    [this.cos, this.sin, this.rows] = [cos, sin, rows];
  }
}
