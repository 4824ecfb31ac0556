/**
 * Completions of lines as the editor makes them: greedily, byte by byte, from a place in the line to its end; by the model
 * alone, and mixed with exact counts over the texts that were learned from (docs/ngram.md).
 */
import { generate } from "../generation/generate";
import { createRandom } from "../generation/random";
import { encode } from "../ids";
import type { TextModel } from "../model/text-state";
import { MixedModel } from "../ngram/mixed-model";
import { MOST_TEXT_BYTES, WorkspaceIndex } from "../ngram/workspace-index";
import { predictByte } from "./document-scores";
import type { Document } from "./trainee";

/** A place in a line, and the line's end. */
export interface LinePlace {
  document: Document;
  /** Where what is read before the cursor begins. */
  from: number;
  cursor: number;
  end: number;
}

export interface LineResult {
  /** Whether what was written is the rest of the line, to its end and no further. */
  isRight: boolean;
  /** -log p of the rest, nats, and its length. */
  nats: number;
  bytes: number;
}

/** One result for each place, in their order. */
export interface LineResults {
  plain: LineResult[];
  /** With the counts. */
  mixed: LineResult[];
}

/** Completions begin after a third of the line, and have at least this many bytes before and after that. */
export const LEAST_BYTES = 4;
/** Bytes before the first cursor of a group that are read. */
const CONTEXT_BYTES = 1024;
const NEIGHBOURS = 4;
const NEWLINE = 0x0a;

/** Where the lines of a text are completed: after a third of what follows the indentation. */
export function placesOf(bytes: Uint8Array): { cursor: number; end: number }[] {
  const places: { cursor: number; end: number }[] = [];
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline;
    let text = start;
    while (text < end && (bytes[text] === 0x20 || bytes[text] === 0x09)) text++;
    places.push({ cursor: text + Math.max(LEAST_BYTES, Math.ceil((end - text) / 3)), end });
    start = end + 1;
  }
  return places;
}

/**
 * Places with enough behind them, a few neighbouring lines at a time, since what is before one is mostly read for the next
 * one, too; the groups in an order drawn by the seed, so that any beginning of it is a sample.
 */
export function samplePlaces(documents: readonly Document[], seed: number): LinePlace[] {
  const groups: LinePlace[][] = [];
  for (const document of documents) {
    const { bytes } = document;
    const places = placesOf(bytes).filter(
      ({ cursor, end }) => end - cursor >= LEAST_BYTES && end < bytes.length && startsCharacter(bytes[cursor]),
    );
    for (let i = 0; i < places.length; i += NEIGHBOURS) {
      const from = Math.max(0, places[i].cursor - CONTEXT_BYTES);
      groups.push(places.slice(i, i + NEIGHBOURS).map((place) => ({ document, from, ...place })));
    }
  }
  const random = createRandom(seed);
  for (let i = groups.length - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [groups[i], groups[other]] = [groups[other], groups[i]];
  }
  return groups.flat();
}

/** Counts over texts, for `completeLines`; as the editor's, of so many of the first texts as may be counted. */
export function countsOf(documents: readonly Document[]): WorkspaceIndex {
  const counted: Document[] = [];
  let size = 0;
  for (const document of documents) {
    if (size + document.bytes.length > MOST_TEXT_BYTES) break;
    size += document.bytes.length;
    counted.push(document);
  }
  const index = new WorkspaceIndex(size + 33 * counted.length);
  for (const { path, bytes } of counted) index.set(path, bytes);
  return index;
}

/** Completes the lines one after the other, until all are done or `isLate` says so. */
export async function completeLines(
  network: TextModel,
  counts: WorkspaceIndex,
  places: readonly LinePlace[],
  { isLate, whilePaused, signal }: { isLate(done: number): boolean; whilePaused(): Promise<void>; signal: AbortSignal },
): Promise<LineResults> {
  const mixture = new MixedModel({ network, workspace: counts });
  const results: LineResults = { plain: [], mixed: [] };
  for (const place of places) {
    await whilePaused();
    if (isLate(results.plain.length)) break;
    results.plain.push(await completeLine(network, place, signal));
    results.mixed.push(await completeLine(mixture, place, signal));
  }
  return results;
}

async function completeLine(
  model: TextModel,
  { document: { bytes }, from, cursor, end }: LinePlace,
  signal?: AbortSignal,
): Promise<LineResult> {
  const prompt = encode(bytes.subarray(from, cursor));
  const rest = bytes.subarray(cursor, end);
  const text = model.createSequence();
  await text.append(prompt.subarray(0, -1), { logits: "none", signal });
  const written = text.fork();
  let matching = 0;
  const last = prompt.subarray(-1);
  for await (const { byte } of generate(written, last, { temperature: 0, maxBytes: rest.length + 1, signal })) {
    if (byte !== bytes[cursor + matching]) break;
    matching++;
  }
  signal?.throwIfAborted();
  const ids = Uint16Array.from([...last, ...encode(rest).subarray(1)]);
  const logits = await text.append(ids, { logits: "all", signal });
  let nats = 0;
  const width = logits.length / ids.length;
  rest.forEach((byte, i) => {
    nats += predictByte(logits.subarray(i * width, (i + 1) * width), byte, i).nats;
  });
  return { isRight: matching > rest.length, nats, bytes: rest.length };
}

/** Whether a byte is not within a character of UTF-8. */
function startsCharacter(byte: number): boolean {
  return (byte & 0xc0) !== 0x80;
}
