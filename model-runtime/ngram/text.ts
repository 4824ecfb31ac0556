/**
 * The texts, in blocks of BLOCK bytes of one array. An edit rewrites the block it falls in and leaves all others where they
 * are, so an address (a byte's place in the array) outlives edits elsewhere in the document.
 */
export const BLOCK = 1024;

/** A run of text: its blocks in order. */
export interface Chain {
  blocks: number[];
  /** Bytes. */
  length: number;
  /** Number of the document it belongs to. */
  owner: number;
}

export class TextStore {
  bytes: Uint8Array;
  /** Bytes used in each block; 0 in a free one. */
  used: Uint16Array;
  owner: Int32Array;
  private next: Int32Array;
  private previous: Int32Array;
  private free: number[] = [];
  /** Block 0 stays empty, so that address 0 can mean none. */
  private fresh = 1;

  constructor(capacity: number) {
    const blocks = Math.max(8, Math.ceil(capacity / BLOCK) + 1);
    this.bytes = new Uint8Array(blocks * BLOCK);
    this.used = new Uint16Array(blocks);
    this.owner = new Int32Array(blocks);
    this.next = new Int32Array(blocks);
    this.previous = new Int32Array(blocks);
  }

  /** Bytes of memory taken by blocks ever used, links included. */
  get memory(): number {
    return this.fresh * (BLOCK + 14);
  }

  create(owner: number, bytes: Uint8Array): Chain {
    const chain: Chain = { blocks: [], length: 0, owner };
    this.splice(chain, 0, 0, bytes);
    return chain;
  }

  remove(chain: Chain): void {
    for (const block of chain.blocks) this.release(block);
    chain.blocks = [];
    chain.length = 0;
  }

  /** Replaces `deleted` bytes at `start`; returns the end of the bytes whose address may have changed, from `start` on. */
  splice(chain: Chain, start: number, deleted: number, inserted: Uint8Array): number {
    const { blocks } = chain;
    const [first, offset] = this.locate(chain, start);
    let [last, lastOffset] = this.locate(chain, start + deleted);
    if (first === blocks.length && first > 0 && this.used[blocks[first - 1]] < BLOCK && offset === 0) {
      return this.splice1(chain, first - 1, this.used[blocks[first - 1]], first, 0, start, deleted, inserted);
    }
    if (last < blocks.length && (lastOffset > 0 || last === first)) last++;
    else lastOffset = -1;
    return this.splice1(chain, first, offset, last, lastOffset, start, deleted, inserted);
  }

  /** Rewrites blocks [first, last): `offset` bytes of the first are kept, and the last one's from `lastOffset` on. */
  private splice1(
    chain: Chain,
    first: number,
    offset: number,
    last: number,
    lastOffset: number,
    start: number,
    deleted: number,
    inserted: Uint8Array,
  ): number {
    const { blocks } = chain;
    const head = first < last ? this.bytes.slice(blocks[first] * BLOCK, blocks[first] * BLOCK + offset) : EMPTY;
    const tailBlock = last > first && lastOffset >= 0 ? blocks[last - 1] : -1;
    const tail =
      tailBlock >= 0 ? this.bytes.slice(tailBlock * BLOCK + lastOffset, tailBlock * BLOCK + this.used[tailBlock]) : EMPTY;
    const total = head.length + inserted.length + tail.length;
    const wanted = Math.ceil(total / BLOCK);
    const replaced = blocks.slice(first, last);
    while (replaced.length > wanted) this.release(replaced.pop()!);
    while (replaced.length < wanted) replaced.push(this.allocate(chain.owner));
    // A block that overflows by typing is halved, a long insertion fills its blocks.
    const share = inserted.length < BLOCK && wanted > 1 ? Math.ceil(total / wanted) : BLOCK;
    let at = 0;
    for (const block of replaced) {
      const size = Math.min(share, total - at);
      copyPart([head, inserted, tail], at, this.bytes, block * BLOCK, size);
      this.used[block] = size;
      at += size;
    }
    if (first === 0 && last === blocks.length) chain.blocks = replaced;
    else blocks.splice(first, last - first, ...replaced);
    chain.length += inserted.length - deleted;
    this.link(chain, Math.max(0, first - 1), Math.min(chain.blocks.length, first + replaced.length + 1));
    return start + inserted.length + tail.length;
  }

  /** Cuts the chain in two: it keeps what is before `offset`; the rest is returned. */
  split(chain: Chain, offset: number): Chain {
    const tail: Chain = { blocks: [], length: chain.length - offset, owner: chain.owner };
    const [index, inside] = this.locate(chain, offset);
    if (inside > 0) {
      const block = chain.blocks[index];
      const fresh = this.allocate(chain.owner);
      this.bytes.copyWithin(fresh * BLOCK, block * BLOCK + inside, block * BLOCK + this.used[block]);
      this.used[fresh] = this.used[block] - inside;
      this.used[block] = inside;
      tail.blocks = [fresh, ...chain.blocks.splice(index + 1)];
    } else tail.blocks = chain.blocks.splice(index);
    chain.length = offset;
    this.link(chain, Math.max(0, chain.blocks.length - 1), chain.blocks.length);
    this.link(tail, 0, Math.min(2, tail.blocks.length));
    return tail;
  }

  /** Appends `tail`'s blocks to `chain`; `tail` is empty afterwards. */
  join(chain: Chain, tail: Chain): void {
    const seam = chain.blocks.length;
    chain.blocks = chain.blocks.concat(tail.blocks);
    chain.length += tail.length;
    tail.blocks = [];
    tail.length = 0;
    this.link(chain, Math.max(0, seam - 1), Math.min(chain.blocks.length, seam + 1));
  }

  /** Address of the byte at `offset`, or 0 at the end of the chain. */
  address(chain: Chain, offset: number): number {
    const [index, inside] = this.locate(chain, offset);
    return index < chain.blocks.length ? chain.blocks[index] * BLOCK + inside : 0;
  }

  /** Offset in its chain of the byte at `address`. */
  offset(chain: Chain, address: number): number {
    const block = Math.floor(address / BLOCK);
    let offset = address % BLOCK;
    for (const other of chain.blocks) {
      if (other === block) return offset;
      offset += this.used[other];
    }
    return -1;
  }

  /** True where a byte of a text lies at `address`. */
  alive(address: number): boolean {
    return (address & (BLOCK - 1)) < this.used[address >>> 10];
  }

  /** Address of the byte after the one at `address`, or 0 at the end. */
  after(address: number): number {
    const block = address >>> 10;
    if ((address & (BLOCK - 1)) + 1 < this.used[block]) return address + 1;
    return this.next[block] * BLOCK;
  }

  /** Address of the byte before the one at `address`, or 0 at the start. */
  before(address: number): number {
    if ((address & (BLOCK - 1)) > 0) return address - 1;
    const block = this.previous[address >>> 10];
    return block === 0 ? 0 : block * BLOCK + this.used[block] - 1;
  }

  /** Bytes [start, end) of the chain. */
  read(chain: Chain, start: number, end: number): Uint8Array {
    const out = new Uint8Array(Math.max(0, end - start));
    let [index, inside] = this.locate(chain, start);
    let at = 0;
    while (at < out.length) {
      const block = chain.blocks[index++];
      const size = Math.min(this.used[block] - inside, out.length - at);
      out.set(this.bytes.subarray(block * BLOCK + inside, block * BLOCK + inside + size), at);
      at += size;
      inside = 0;
    }
    return out;
  }

  /** Block index and place in it of `offset`; at the end of the chain (number of blocks, 0). */
  private locate(chain: Chain, offset: number): [number, number] {
    const { blocks } = chain;
    // From the nearer end: typing is mostly near neither, a chain has few blocks, and a walk is a microsecond.
    if (offset >= chain.length) return [blocks.length, 0];
    let index = 0;
    let rest = offset;
    while (rest >= this.used[blocks[index]]) rest -= this.used[blocks[index++]];
    return [index, rest];
  }

  private link(chain: Chain, from: number, to: number): void {
    const { blocks } = chain;
    for (let i = from; i < to; i++) {
      this.previous[blocks[i]] = i > 0 ? blocks[i - 1] : 0;
      this.next[blocks[i]] = i + 1 < blocks.length ? blocks[i + 1] : 0;
    }
  }

  private allocate(owner: number): number {
    let block = this.free.pop();
    if (block === undefined) {
      if (this.fresh === this.used.length) this.grow();
      block = this.fresh++;
    }
    this.owner[block] = owner;
    return block;
  }

  private release(block: number): void {
    this.used[block] = 0;
    this.free.push(block);
  }

  private grow(): void {
    const blocks = Math.ceil(this.used.length * 1.3) + 8;
    const copy = <T extends Uint8Array | Uint16Array | Int32Array>(grown: T, from: T): T => {
      grown.set(from);
      return grown;
    };
    this.bytes = copy(new Uint8Array(blocks * BLOCK), this.bytes);
    this.used = copy(new Uint16Array(blocks), this.used);
    this.owner = copy(new Int32Array(blocks), this.owner);
    this.next = copy(new Int32Array(blocks), this.next);
    this.previous = copy(new Int32Array(blocks), this.previous);
  }
}

const EMPTY = new Uint8Array(0);

/** Copies bytes [at, at + size) of the concatenation of `parts`. */
function copyPart(parts: Uint8Array[], at: number, target: Uint8Array, to: number, size: number): void {
  let start = at;
  let left = size;
  let place = to;
  for (const part of parts) {
    if (start >= part.length) {
      start -= part.length;
      continue;
    }
    const length = Math.min(left, part.length - start);
    target.set(part.subarray(start, start + length), place);
    place += length;
    left -= length;
    start = 0;
    if (left === 0) return;
  }
}
