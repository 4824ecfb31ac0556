/** Rows of one width that grow and shrink at the end, in one typed array. */
export class RowStore {
  private data = new Float32Array(0);
  private count = 0;

  constructor(readonly width: number) {}

  get length(): number {
    return this.count;
  }

  get byteLength(): number {
    return this.data.byteLength;
  }

  /** Rows `from` to `to` as a view that holds until the next append. */
  slice(from: number, to: number): Float32Array {
    return this.data.subarray(from * this.width, to * this.width);
  }

  /** Appends the first `width` columns of each row of `rows`, whose rows are `stride` wide. */
  append(rows: Float32Array, count: number, stride: number): void {
    const needed = (this.count + count) * this.width;
    if (needed > this.data.length) {
      const grown = new Float32Array(Math.max(needed, this.data.length * 2));
      grown.set(this.slice(0, this.count));
      this.data = grown;
    }
    if (stride === this.width) this.data.set(rows.subarray(0, count * stride), this.count * this.width);
    else
      for (let row = 0; row < count; row++)
        this.data.set(rows.subarray(row * stride, row * stride + this.width), (this.count + row) * this.width);
    this.count += count;
  }

  truncate(count: number): void {
    this.count = Math.min(this.count, count);
  }

  fork(): RowStore {
    const copy = new RowStore(this.width);
    copy.append(this.slice(0, this.count), this.count, this.width);
    return copy;
  }
}
