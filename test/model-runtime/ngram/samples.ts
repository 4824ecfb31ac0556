import { encode } from "../../../model-runtime/ids";
import { Candidates, LONGEST_CONTEXT } from "../../../model-runtime/ngram/chains";
import { History } from "../../../model-runtime/ngram/history";

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A text to be continued. */
export function historyOf(text: string | Uint8Array): History {
  const history = new History();
  for (const id of encode(typeof text === "string" ? bytesOf(text) : text)) history.push(id);
  return history;
}

/** What a text is to contexts: zeros before its beginning. */
export function withLead(text: Uint8Array): Uint8Array {
  const padded = new Uint8Array(LONGEST_CONTEXT + text.length);
  padded.set(text, LONGEST_CONTEXT);
  return padded;
}

/** What stands behind each context of at least `least` bytes that a text has in common with `query`: "symbol:length", sorted. */
export function placesIn(texts: readonly Uint8Array[], query: Uint8Array, least: number): string[] {
  const context = withLead(query);
  const found: string[] = [];
  for (const text of texts) {
    const padded = withLead(text);
    for (let place = LONGEST_CONTEXT; place <= padded.length; place++) {
      let length = 0;
      while (length < LONGEST_CONTEXT && padded[place - 1 - length] === context[context.length - 1 - length]) length++;
      if (length >= least) found.push(`${place === padded.length ? 256 : padded[place]}:${length}`);
    }
  }
  return found.sort();
}

/** The places that `collect` finds, in the same form. */
export function placesFound(collect: (into: Candidates) => void): string[] {
  const candidates = new Candidates(600);
  collect(candidates);
  return Array.from({ length: candidates.count }, (_, i) => `${candidates.symbols[i]}:${candidates.lengths[i]}`).sort();
}
