/**
 * How often each byte followed each context: a hash table whose cell holds 14 bits of the context's hash, the byte and a
 * 10-bit count, sixteen cells to a cache line. A context's line is chosen by the upper bits of its hash and its cells lie
 * in that line or, where it is full, in the next ones, so that reading all successors of a context costs one cache miss.
 * Counts can be taken back. A count that reached 1023 stays there: what it has lost since is not known.
 */
const CELLS = 16;
const PROBED_LINES = 12;
const COUNT_BITS = 10;
const COUNT_MASK = (1 << COUNT_BITS) - 1;
const CHECK_MASK = 0x3fff;
const CHECK_SHIFT = 18;

export class CountTable {
  private cells: Uint32Array;
  private readonly lines: number;
  private readonly scale: number;
  /** Cells in use, those with a count of zero included. */
  used = 0;
  /** Successors not recorded because no cell was left near their place. */
  dropped = 0;

  /** A table of about `capacity` cells, 4 bytes each. */
  constructor(capacity: number) {
    this.lines = Math.max(16, Math.ceil(capacity / CELLS));
    this.scale = this.lines / 2 ** 32;
    this.cells = new Uint32Array(this.lines * CELLS);
  }

  get capacity(): number {
    return this.cells.length;
  }

  get bytes(): number {
    return this.cells.byteLength;
  }

  get load(): number {
    return this.used / this.cells.length;
  }

  /** Counts `symbol` after the context `hash` once more; `create` false adds to known successors only. */
  add(hash: number, symbol: number, amount: number, create: boolean): void {
    const cells = this.cells;
    const key = ((checkOf(hash) << CHECK_SHIFT) | (symbol << COUNT_BITS)) >>> 0;
    let line = ((hash >>> 0) * this.scale) | 0;
    let vacant = -1;
    for (let probe = 0; probe < PROBED_LINES; probe++) {
      const end = (line + 1) * CELLS;
      for (let i = line * CELLS; i < end; i++) {
        const cell = cells[i];
        if (cell === 0) {
          if (!create) return;
          if (vacant >= 0) i = vacant;
          else this.used++;
          cells[i] = key + amount;
          return;
        }
        if ((cell ^ key) >>> COUNT_BITS === 0) {
          const count = (cell & COUNT_MASK) + amount;
          cells[i] = key + (count < COUNT_MASK ? count : COUNT_MASK);
          return;
        }
        if (vacant < 0 && (cell & COUNT_MASK) === 0) vacant = i;
      }
      line = line + 1 === this.lines ? 0 : line + 1;
    }
    if (!create) return;
    if (vacant >= 0) cells[vacant] = key + amount;
    else this.dropped++;
  }

  /** Takes back what `add` counted; a successor that is not recorded is left alone. */
  subtract(hash: number, symbol: number, amount: number): void {
    const cells = this.cells;
    const key = ((checkOf(hash) << CHECK_SHIFT) | (symbol << COUNT_BITS)) >>> 0;
    let line = ((hash >>> 0) * this.scale) | 0;
    for (let probe = 0; probe < PROBED_LINES; probe++) {
      const end = (line + 1) * CELLS;
      for (let i = line * CELLS; i < end; i++) {
        const cell = cells[i];
        if (cell === 0) return;
        if ((cell ^ key) >>> COUNT_BITS !== 0) continue;
        const count = cell & COUNT_MASK;
        if (count !== COUNT_MASK) cells[i] = key + (count > amount ? count - amount : 0);
        return;
      }
      line = line + 1 === this.lines ? 0 : line + 1;
    }
  }

  /** Writes the context's successors and their counts from `at` on; returns where it stopped. */
  gather(hash: number, symbols: Uint8Array, counts: Uint16Array, at: number): number {
    const cells = this.cells;
    const check = checkOf(hash);
    let line = ((hash >>> 0) * this.scale) | 0;
    for (let probe = 0; probe < PROBED_LINES; probe++) {
      const end = (line + 1) * CELLS;
      for (let i = line * CELLS; i < end; i++) {
        const cell = cells[i];
        if (cell === 0) return at;
        if (cell >>> CHECK_SHIFT !== check || (cell & COUNT_MASK) === 0) continue;
        symbols[at] = cell >>> COUNT_BITS;
        counts[at++] = cell & COUNT_MASK;
      }
      line = line + 1 === this.lines ? 0 : line + 1;
    }
    return at;
  }

  clear(): void {
    this.cells.fill(0);
    this.used = this.dropped = 0;
  }
}

function checkOf(hash: number): number {
  return hash & CHECK_MASK || 1;
}
