/**
 * The texts of a workspace and where each context was seen in them: counts of what followed a context, for all lengths
 * from 5 to 32 bytes at once, exact as far as the limits stated in docs/ngram.md. Texts may be replaced, edited and
 * removed at any time; what an edit leaves behind is dead until the index is packed.
 */
import type { Edit } from "../edit";
import { ByteChains, type Candidates, END_SYMBOL, LONGEST_CONTEXT, MOST_ADDRESSES, SYMBOLS } from "./chains";

const LIMITS = { order: 5, mostPlaces: 512, hasLong: true } as const;
export const WORKSPACE_PLACES = LIMITS.mostPlaces + 2;

/** Slots of chains and of long contexts for an address, so that an address costs less than 6.5 bytes in all. */
const CHAINS_PER_ADDRESS = 1 / 6;
const LONG_PER_ADDRESS = 1 / 7;
/** Room beyond the text that is expected, so that edits do not fill it at once. */
const SLACK = 1.05;
/** Share of dead addresses at which the index is packed. */
const DEAD_SHARE = 0.25;
const SMALLEST_CAPACITY = 1 << 16;
const NO_LEAD = new Uint8Array(0);

/** Memory that one byte of text may take, and bytes of text that are counted at most: 64 MB in all. */
export const MEMORY_PER_BYTE = 8;
export const MOST_TEXT_BYTES = 64_000_000 / MEMORY_PER_BYTE;

/** A stretch of a document's symbols (its bytes and its end) and where they lie. */
interface Piece {
  address: number;
  length: number;
}

interface Document {
  pieces: Piece[];
  /** Bytes. */
  length: number;
}

/** Where something stands. */
export interface Place {
  path: string;
  /** Byte offset. */
  offset: number;
}

export class WorkspaceIndex {
  private chains: ByteChains;
  private readonly documents = new Map<string, Document>();
  /** How often each symbol followed each byte, [256, SYMBOLS]; a text begins behind byte 0. */
  private readonly pairs = new Uint32Array(256 * SYMBOLS);
  private deadCount = 0;
  /** Grows with every change. */
  version = 0;
  private textBytes = 0;

  /** @param expectedBytes bytes of text for which there shall be room from the start */
  constructor(expectedBytes = 0) {
    this.chains = this.allocate(expectedBytes);
  }

  /** Bytes of text. */
  get length(): number {
    return this.textBytes;
  }

  get size(): number {
    return this.documents.size;
  }

  get paths(): string[] {
    return [...this.documents.keys()];
  }

  get memoryBytes(): number {
    return this.chains.memoryBytes + this.pairs.byteLength;
  }

  has(path: string): boolean {
    return this.documents.has(path);
  }

  /** Adds a text, or replaces the one of that name; only what differs is indexed again. */
  set(path: string, bytes: Uint8Array): void {
    const document = this.documents.get(path);
    if (document === undefined) {
      this.add(path, bytes);
      return;
    }
    const old = this.read(path)!;
    const most = Math.min(old.length, bytes.length);
    let start = 0;
    while (start < most && old[start] === bytes[start]) start++;
    let kept = 0;
    while (kept < most - start && old[old.length - 1 - kept] === bytes[bytes.length - 1 - kept]) kept++;
    const inserted = bytes.subarray(start, bytes.length - kept);
    const deleted = old.length - kept - start;
    if (deleted > 0 || inserted.length > 0) this.edit(path, { start, deleted, inserted });
  }

  /** Changes a text; the places behind the change are indexed anew as far as their contexts reach. */
  edit(path: string, { start, deleted, inserted }: Edit): void {
    const document = this.documents.get(path);
    if (document === undefined) throw new Error(`${path} is not in the index`);
    if (!(start >= 0 && deleted >= 0 && start + deleted <= document.length)) {
      throw new RangeError(`${path} has ${document.length} bytes, no ${start} to ${start + deleted}`);
    }
    this.version++;
    this.makeRoom(inserted.length + 2 * LONGEST_CONTEXT + 1);
    const symbols = document.length + 1;
    const until = Math.min(symbols, start + deleted + LONGEST_CONTEXT);
    const lead = this.slice(document, Math.max(0, start - LONGEST_CONTEXT), start);
    const tail = this.slice(document, start + deleted, Math.min(until, document.length));
    const [before, changed, after] = splitPieces(document.pieces, start, until);
    this.countPairs(document, start, Math.min(symbols, start + deleted + 1), -1);
    for (const { address, length } of changed) this.bury(address, length);
    const body = concatenated(inserted, tail);
    const hasEnd = until === symbols;
    document.length += inserted.length - deleted;
    this.textBytes += inserted.length - deleted;
    const address = this.append(lead, body, hasEnd);
    document.pieces = [...before, { address, length: body.length + (hasEnd ? 1 : 0) }, ...after];
    this.countPairs(document, start, Math.min(document.length + 1, start + inserted.length + 1), 1);
    if (document.pieces.length > 64 + document.length / 256) this.settle(document);
  }

  remove(path: string): void {
    const document = this.documents.get(path);
    if (document === undefined) return;
    this.version++;
    this.countPairs(document, 0, document.length + 1, -1);
    for (const { address, length } of document.pieces) this.bury(address, length);
    this.documents.delete(path);
    this.textBytes -= document.length;
  }

  /** Calls `use` while the texts of these names count as if they were not there; `use` must not change the index. */
  without<T>(paths: readonly string[], use: () => T): T {
    const hidden = paths.flatMap((path) => this.documents.get(path) ?? []);
    for (const document of hidden) {
      this.countPairs(document, 0, document.length + 1, -1);
      for (const { address, length } of document.pieces) this.chains.kill(address, address + length);
    }
    try {
      return use();
    } finally {
      for (const document of hidden) {
        this.countPairs(document, 0, document.length + 1, 1);
        for (const { address, length } of document.pieces) this.chains.revive(address, address + length);
      }
    }
  }

  /** A document's text; null when there is none of that name. */
  read(path: string): Uint8Array | null {
    const document = this.documents.get(path);
    return document === undefined ? null : this.slice(document, 0, document.length);
  }

  /**
   * Adds the places whose context is that of the byte at `end` of `text`: the latest for each of the long contexts, then the
   * latest of all with at least five bytes in common.
   */
  collect(text: Uint8Array, end: number, into: Candidates): void {
    this.chains.collect(text, end, into);
  }

  /** How often each symbol followed the byte `last`: [SYMBOLS], read only. */
  pairCounts(last: number): Uint32Array {
    return this.pairs.subarray(last * SYMBOLS, (last + 1) * SYMBOLS);
  }

  /** Where an address lies; null when nothing alive is there. */
  placeOf(address: number): Place | null {
    for (const [path, { pieces }] of this.documents) {
      let offset = 0;
      for (const piece of pieces) {
        if (address >= piece.address && address < piece.address + piece.length) {
          return { path, offset: offset + address - piece.address };
        }
        offset += piece.length;
      }
    }
    return null;
  }

  /** Bytes [from, to) of a document; null when there is none of that name. */
  readRange(path: string, from: number, to: number): Uint8Array | null {
    const document = this.documents.get(path);
    return document === undefined ? null : this.slice(document, from, Math.min(to, document.length));
  }

  private add(path: string, bytes: Uint8Array): void {
    this.version++;
    this.makeRoom(bytes.length + LONGEST_CONTEXT + 1);
    this.textBytes += bytes.length;
    const address = this.append(NO_LEAD, bytes, true);
    const document = { pieces: [{ address, length: bytes.length + 1 }], length: bytes.length };
    this.documents.set(path, document);
    this.countPairs(document, 0, bytes.length + 1, 1);
  }

  /** Appends symbols behind a context; returns the address of the first. */
  private append(lead: Uint8Array, body: Uint8Array, hasEnd: boolean): number {
    const { chains } = this;
    chains.beginRun(lead);
    // What fills up a lead is not there.
    this.deadCount += LONGEST_CONTEXT;
    return chains.push(body, hasEnd);
  }

  private bury(address: number, length: number): void {
    this.chains.kill(address, address + length);
    this.deadCount += length;
  }

  /** Makes room for so many more bytes of text, and 33 for each text, at once. */
  reserve(bytes: number): void {
    this.makeRoom(bytes);
  }

  /** Makes the index anew when much of it is dead, so that no edit has to: for idle moments. */
  packWhenWorthwhile(): void {
    const isNearlyFull = this.chains.capacity - this.chains.end < (SLACK - 1) * 0.5 * this.chains.capacity;
    if (this.deadCount > Math.max(SMALLEST_CAPACITY, (isNearlyFull ? 0.1 : 0.5) * DEAD_SHARE * this.chains.end))
      this.pack(0);
  }

  /** Makes sure that `needed` more addresses fit; addresses known before may be others afterwards. */
  private makeRoom(needed: number): void {
    const isFull = this.chains.end + needed > this.chains.capacity;
    if (isFull || this.deadCount > Math.max(SMALLEST_CAPACITY, DEAD_SHARE * this.chains.end)) this.pack(needed);
  }

  /** Puts a document's pieces into one. */
  private settle(document: Document): void {
    this.makeRoom(document.length + LONGEST_CONTEXT + 1);
    const bytes = this.slice(document, 0, document.length);
    for (const { address, length } of document.pieces) this.bury(address, length);
    document.pieces = [{ address: this.append(NO_LEAD, bytes, true), length: bytes.length + 1 }];
  }

  /** Makes the index anew, without what is dead, with room for `more` addresses. */
  private pack(more: number): void {
    const texts = [...this.documents.values()].map((document) => ({ document, pieces: document.pieces }));
    const old = this.chains;
    const needed = this.textBytes + more + texts.length * (LONGEST_CONTEXT + 1);
    const grown = needed > old.capacity / SLACK ? Math.max(needed, Math.min(1.25 * needed, MOST_ADDRESSES)) : needed;
    this.chains = this.allocate(grown);
    this.deadCount = 0;
    for (const { document, pieces } of texts) {
      const symbols = pieces.reduce((sum, { length }) => sum + length, 0);
      if (symbols === 0) continue;
      this.chains.beginRun(NO_LEAD);
      this.deadCount += LONGEST_CONTEXT;
      const bytes = sliceOf(old, pieces, 0, symbols - 1);
      const address = this.chains.push(bytes, true);
      document.pieces = [{ address, length: symbols }];
    }
  }

  private allocate(expectedBytes: number): ByteChains {
    const roomy = Math.max(SMALLEST_CAPACITY, SLACK * expectedBytes);
    // What would only be left free is no reason to fail; address 0 is none.
    const capacity = Math.ceil(Math.max(expectedBytes + 1, Math.min(roomy, MOST_ADDRESSES)));
    const slots = { chains: Math.ceil(capacity * CHAINS_PER_ADDRESS), long: Math.ceil(capacity * LONG_PER_ADDRESS) };
    return new ByteChains(capacity, slots, LIMITS);
  }

  private slice({ pieces }: Document, from: number, to: number): Uint8Array {
    return sliceOf(this.chains, pieces, from, to);
  }

  /** Counts symbols [from, to) of a document behind the byte before each, `amount` times. */
  private countPairs(document: Document, from: number, to: number, amount: number): void {
    const start = Math.max(0, from - 1);
    const bytes = this.slice(document, start, Math.min(to, document.length));
    const { pairs } = this;
    let last = from === 0 ? 0 : bytes[0];
    for (let i = from; i < to; i++) {
      const symbol = i === document.length ? END_SYMBOL : bytes[i - start];
      pairs[last * SYMBOLS + symbol] += amount;
      last = symbol;
    }
  }
}

/** Bytes [from, to) of a document in pieces. */
function sliceOf(chains: ByteChains, pieces: readonly Piece[], from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(to - from);
  let offset = 0;
  for (const { address, length } of pieces) {
    const [start, end] = [Math.max(from, offset), Math.min(to, offset + length)];
    if (start < end) chains.copy(address + start - offset, end - start, bytes, start - from);
    offset += length;
    if (offset >= to) break;
  }
  return bytes;
}

/** Pieces before symbol `from`, from there to `to`, and from `to` on. */
function splitPieces(pieces: readonly Piece[], from: number, to: number): [Piece[], Piece[], Piece[]] {
  const parts: [Piece[], Piece[], Piece[]] = [[], [], []];
  let offset = 0;
  for (const { address, length } of pieces) {
    const cuts = [0, from - offset, to - offset, length].map((cut) => Math.max(0, Math.min(length, cut)));
    for (let part = 0; part < 3; part++) {
      const [start, end] = [cuts[part], cuts[part + 1]];
      if (start < end) parts[part].push({ address: address + start, length: end - start });
    }
    offset += length;
  }
  return parts;
}

function concatenated(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
