/**
 * The text being continued, as ids arrive and are taken back: what it says of its own next byte, and the context that is
 * looked up in the workspace. A special id (BOS, EOS) begins a new text, from which nothing before it is seen.
 */
import { BYTE_OFFSET } from "../ids";
import { ByteChains, type Candidates, LONGEST_CONTEXT } from "./chains";

/** Shorter contexts than in the workspace count here, since all of it is near. */
const LIMITS = { order: 4, mostPlaces: 128, hasLong: false } as const;
export const HISTORY_PLACES = LIMITS.mostPlaces;
const FIRST_CAPACITY = 4096;
const NO_LEAD = new Uint8Array(0);

export class History {
  private chains = newChains(FIRST_CAPACITY);
  private text = new Uint8Array(FIRST_CAPACITY);
  private readonly ids: number[] = [];
  /** End of the bytes after each id. */
  private readonly ends: number[] = [];

  get length(): number {
    return this.ids.length;
  }

  /** The bytes of the context are those before `end`. */
  get bytes(): Uint8Array {
    return this.text;
  }

  get end(): number {
    return this.chains.end;
  }

  get byteLength(): number {
    return this.chains.memoryBytes + this.text.byteLength + 16 * this.ids.length;
  }

  idAt(position: number): number {
    return this.ids[position];
  }

  push(id: number): void {
    if (this.chains.end + LONGEST_CONTEXT + 1 >= this.chains.capacity) this.grow();
    this.ids.push(id);
    this.place(id);
    this.ends.push(this.chains.end);
  }

  truncate(length: number): void {
    this.ids.length = length;
    this.ends.length = length;
    this.chains.truncate(length === 0 ? 1 : this.ends[length - 1]);
  }

  /** Adds the latest places in the text whose context is that of its next byte. */
  collect(into: Candidates): void {
    this.chains.collect(this.bytes, this.end, into);
  }

  fork(): History {
    const copy = new History();
    for (const id of this.ids) copy.push(id);
    return copy;
  }

  private place(id: number): void {
    const { chains, text } = this;
    if (id < BYTE_OFFSET || chains.end === 1) {
      text.fill(0, chains.end, chains.end + LONGEST_CONTEXT);
      chains.beginRun(NO_LEAD);
    }
    if (id < BYTE_OFFSET) return;
    text[chains.end] = id - BYTE_OFFSET;
    chains.push([id - BYTE_OFFSET], false);
  }

  private grow(): void {
    this.text = new Uint8Array(2 * this.chains.capacity);
    this.chains = newChains(2 * this.chains.capacity);
    for (const id of this.ids) this.place(id);
  }
}

function newChains(capacity: number): ByteChains {
  return new ByteChains(capacity, { chains: capacity >>> 2, long: 0 }, LIMITS);
}
