/** Where lines lie in a text in bytes. Byte lengths include a line's end, which is one byte; the last line has none. */
export class LineIndex {
  /** @param lengths of the lines in bytes; never empty */
  constructor(private readonly lengths: number[]) {}

  get count(): number {
    return this.lengths.length;
  }

  /** First byte of a line; that of the text's end for the line behind the last one. */
  startOf(line: number): number {
    let start = 0;
    for (let i = 0; i < line && i < this.lengths.length; i++) start += this.lengths[i];
    return start;
  }

  /** Bytes of a line, with its end. */
  lengthOf(line: number): number {
    return this.lengths[line];
  }

  hasEnd(line: number): boolean {
    return line < this.lengths.length - 1;
  }

  /** The line that a byte lies in, and where it starts; the last line for the end of the text. */
  lineAt(byte: number): { line: number; start: number } {
    let start = 0;
    let line = 0;
    while (line < this.lengths.length - 1 && byte >= start + this.lengths[line]) start += this.lengths[line++];
    return { line, start };
  }

  /** Replaces lines `from` to `to`, the last one included. */
  replace(from: number, to: number, lengths: readonly number[]): void {
    // In pieces, as a list of arguments has a limit.
    if (lengths.length < 1000) this.lengths.splice(from, to - from + 1, ...lengths);
    else {
      const rest = this.lengths.splice(from).slice(to - from + 1);
      for (const length of lengths) this.lengths.push(length);
      for (const length of rest) this.lengths.push(length);
    }
  }
}
