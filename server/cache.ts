/** What the model wrote lately, found again while the user types it: memory only, bounded, newest kept. */
import type { Extent } from "./extent";

/** A finished suggestion as the model wrote it, cut where it is confident. */
export interface CachedText {
  text: string;
  /** Why it ends where it does: the model's text ends there, or was not sure enough from there on, or met a limit. */
  ending: "whole" | "unsure" | "limit";
  /** Where nothing is sure enough to be shown: what was written and how sure the model was of it; else absent. */
  doubt?: Doubt;
}

/** `isCut`: the model was stopped there; `probability`: geometric mean over the bytes; `least`: what it had to be. */
export interface Doubt {
  text: string;
  isCut: boolean;
  probability: number;
  least: number;
}

/** Typed characters after which a suggestion is still found. */
const LONGEST_TYPED = 128;
/** Characters before the cursor that must be the same. */
const KEY_LENGTH = 1024;

export class SuggestionCache {
  /** In the order of use: the first is the next to go. */
  private readonly entries = new Map<string, CachedText>();

  constructor(private readonly capacity = 250) {}

  get size(): number {
    return this.entries.size;
  }

  /** @param before text of the document before the cursor, as far as the model read it */
  put(uri: string, before: string, extent: Extent["kind"], entry: CachedText): void {
    const key = keyOf(uri, before, extent);
    this.entries.delete(key);
    this.entries.set(key, entry);
    if (this.entries.size > this.capacity) this.entries.delete(this.entries.keys().next().value!);
  }

  /**
   * What remains of a suggestion that was made here or up to `LONGEST_TYPED` characters further left, if the characters
   * since then are those it had; of several the longest remainder. Null when there is none.
   */
  get(uri: string, before: string, extent: Extent["kind"]): CachedText | null {
    let best: { key: string; entry: CachedText; text: string } | null = null;
    for (let typed = 0; typed <= Math.min(LONGEST_TYPED, before.length); typed++) {
      const at = before.length - typed;
      const key = keyOf(uri, before.slice(0, at), extent);
      const entry = this.entries.get(key);
      if (entry === undefined || !entry.text.startsWith(before.slice(at))) continue;
      const text = entry.text.slice(typed);
      // An empty answer holds at its own place only: behind it everything is open again.
      if (typed > 0 && text === "") continue;
      if (best === null || text.length > best.text.length) best = { key, entry, text };
    }
    if (best === null) return null;
    this.entries.delete(best.key);
    this.entries.set(best.key, best.entry);
    return { ...best.entry, text: best.text };
  }

  clear(): void {
    this.entries.clear();
  }
}

function keyOf(uri: string, before: string, extent: Extent["kind"]): string {
  return `${extent}\0${uri}\0${before.slice(-KEY_LENGTH)}`;
}
