/** A guard against adapters that write the same few bytes over and over: texts written with and without it are compared. */
import { generate } from "../generation/generate";
import { encode } from "../ids";
import type { TextModel } from "../model/text-state";

/** Length of the strings that are counted. */
const GRAM = 8;
/** Share of different strings below which a text is repetitive, if the base model's is not. */
const LEAST_VARIETY = 0.35;
const WRITTEN_BYTES = 160;

/** What each prompt is continued with, greedily. */
export async function continuations(
  model: TextModel,
  prompts: readonly Uint8Array[],
  signal?: AbortSignal,
): Promise<Uint8Array[]> {
  const texts: Uint8Array[] = [];
  for (const prompt of prompts) {
    const written: number[] = [];
    const options = { temperature: 0, maxBytes: WRITTEN_BYTES, signal };
    for await (const { byte } of generate(model.createSequence(), encode(prompt), options)) written.push(byte);
    signal?.throwIfAborted();
    texts.push(Uint8Array.from(written));
  }
  return texts;
}

/** Share of different strings of 8 bytes; 1 for a text too short to tell. */
export function variety(text: Uint8Array): number {
  const count = text.length - GRAM + 1;
  if (count < GRAM) return 1;
  const grams = new Set<string>();
  for (let i = 0; i < count; i++) grams.add(Buffer.from(text.subarray(i, i + GRAM)).toString("latin1"));
  return grams.size / count;
}

/** Half of a sentence on what is wrong with texts written with an adapter; null when nothing is. */
export function collapseOf(before: readonly Uint8Array[], after: readonly Uint8Array[]): string | null {
  const mean = (texts: readonly Uint8Array[]) => texts.reduce((sum, text) => sum + variety(text), 0) / texts.length;
  const [was, is] = [mean(before), mean(after)];
  if (is < LEAST_VARIETY && is < 0.7 * was)
    return `it repeats itself when it writes (${Math.round(100 * is)} % different strings, ${Math.round(100 * was)} % without it).`;
  const isEmpty = (texts: readonly Uint8Array[]) => texts.every((text) => text.length === 0);
  if (isEmpty(after) && !isEmpty(before)) return "it ends every text at once.";
  return null;
}
