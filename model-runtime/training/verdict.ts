/**
 * Is the adapter better? Held-out and general texts scored with and without it, compared pair by pair: used only if it is
 * better beyond noise on the first and not worse than a little on the second.
 */
import { createRandom } from "../generation/random";
import type { DocumentScorer, Prediction } from "./document-scores";
import { languageOf } from "./language";
import { LEAST_BYTES, type LineResult, type LineResults, placesOf } from "./line-completions";
import type { Document } from "./trainee";

/** What was measured on a set of texts, before and after. */
export interface Comparison {
  files: number;
  bytes: number;
  bpb: Pair;
  /** Share of line completions that are right from the cursor to the end of the line. */
  exactMatch: Pair & { lines: number };
}

export interface Pair {
  before: number;
  after: number;
}

/** Lines of held-out text that were really completed, byte by byte. */
export interface Completions {
  lines: number;
  /** Of the bytes from the cursor to the end of the line. */
  bpb: Pair;
  /** Share of lines that were written as they stand, to their end. */
  exactMatch: Pair;
}

export interface Verdict {
  heldOut: Comparison;
  byLanguage: Record<string, Comparison>;
  general: Comparison;
  /** By the model alone, and mixed with counts over the text that was learned from; null where nothing was completed. */
  completions: { plain: Completions; mixed: Completions } | null;
  /** 95 % interval of the difference in bits per byte on held-out text (negative is better), by paired bootstrap. */
  interval: [number, number];
  isUsed: boolean;
  /** One sentence. */
  reason: string;
}

/** How much worse the general sample may become, bits per byte. */
export const GENERAL_TOLERANCE = 0.02;
/** A gain that sums of other order may give as well, bits per byte: rounding is the same on all files, so the interval misses it. */
const LEAST_GAIN = 1e-4;
const RESAMPLES = 2000;
/** With fewer files, parts of this many bytes are drawn instead of whole files. */
const LEAST_FILES = 8;
const PART_BYTES = 2000;

/** Scores of one document with one model. */
export interface Scored {
  document: Document;
  predictions: Prediction[];
}

/** Scores documents one after the other, until all are done or `isLate` says so; at least one. */
export async function scoreDocuments(
  scorer: DocumentScorer,
  documents: readonly Document[],
  options: { signal?: AbortSignal; whilePaused?: () => Promise<void>; isLate?: () => boolean } = {},
): Promise<Scored[]> {
  const scored: Scored[] = [];
  for (const document of documents) {
    await options.whilePaused?.();
    if (scored.length > 0 && options.isLate?.()) break;
    scored.push({ document, predictions: await scorer.score(document.bytes, options.signal) });
  }
  return scored;
}

/**
 * The verdict from scores of the same documents in the same order.
 * @param collapse what is wrong with texts written with the adapter; null when nothing is
 */
export function judge(
  heldOut: { before: readonly Scored[]; after: readonly Scored[] },
  general: { before: readonly Scored[]; after: readonly Scored[] },
  collapse: string | null,
  { seed = 0, lines = null }: { seed?: number; lines?: { before: LineResults; after: LineResults } | null } = {},
): Verdict {
  const whole = compare(heldOut.before, heldOut.after);
  const wide = compare(general.before, general.after);
  const interval = bootstrap(heldOut.before, heldOut.after, seed);
  const languages = [...new Set(heldOut.before.map(({ document }) => languageOf(document.path)))];
  const byLanguage = Object.fromEntries(
    languages.map((language) => {
      const of = (scored: readonly Scored[]) => scored.filter(({ document }) => languageOf(document.path) === language);
      return [language, compare(of(heldOut.before), of(heldOut.after))];
    }),
  );
  const rise = wide.bpb.after - wide.bpb.before;
  const gain = `${whole.bpb.before.toFixed(3)} -> ${whole.bpb.after.toFixed(3)} bits per byte on held-out files`;
  let reason = `Better: ${gain}${linesOf(whole.exactMatch)}.`;
  let isUsed = true;
  const refuse = (why: string) => {
    isUsed = false;
    reason = why;
  };
  if (!Number.isFinite(whole.bpb.after)) refuse("Discarded: its scores are not numbers.");
  else if (interval[1] >= -LEAST_GAIN)
    refuse(
      `Discarded: not better beyond noise (${gain}; 95 % interval of the difference ${interval.map((end) => end.toFixed(4)).join(" to ")}).`,
    );
  else if (!(rise <= GENERAL_TOLERANCE))
    refuse(
      `Discarded: better here (${gain}), but worse by ${rise.toFixed(3)} bits per byte on general code, where ${GENERAL_TOLERANCE} is allowed.`,
    );
  else if (collapse !== null) refuse(`Discarded: ${collapse}`);
  const completions = lines === null || lines.after.plain.length === 0 ? null : completionsOf(lines);
  return { heldOut: whole, byLanguage, general: wide, completions, interval, isUsed, reason };
}

/** What became of the lines: fewer bits do not always make more lines right, and who reads the verdict should know. */
function linesOf({ before, after, lines }: Comparison["exactMatch"]): string {
  if (lines === 0) return "";
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  if (after < before)
    return `, but fewer of their ${lines} lines are right (${percent(before)} -> ${percent(after)}): watch whether suggestions are better`;
  return `, and ${percent(after)} of their ${lines} lines right, ${percent(before)} before`;
}

/** Of the lines that both completed. */
function completionsOf({ before, after }: { before: LineResults; after: LineResults }): Verdict["completions"] {
  const lines = Math.min(before.plain.length, after.plain.length);
  const pair = (of: (results: readonly LineResult[]) => number, kind: keyof LineResults) => ({
    before: of(before[kind].slice(0, lines)),
    after: of(after[kind].slice(0, lines)),
  });
  const sum = (results: readonly LineResult[], of: (result: LineResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  const bpb = (results: readonly LineResult[]) =>
    sum(results, ({ nats }) => nats) / Math.LN2 / sum(results, ({ bytes }) => bytes);
  const rights = (results: readonly LineResult[]) => sum(results, ({ isRight }) => Number(isRight)) / results.length;
  const of = (kind: keyof LineResults) => ({ lines, bpb: pair(bpb, kind), exactMatch: pair(rights, kind) });
  return { plain: of("plain"), mixed: of("mixed") };
}

function compare(before: readonly Scored[], after: readonly Scored[]): Comparison {
  const bytes = before.reduce((sum, { document }) => sum + document.bytes.length, 0);
  const bpb = (scored: readonly Scored[]) =>
    scored.reduce((sum, { predictions }) => sum + natsOf(predictions), 0) / Math.LN2 / Math.max(1, bytes);
  const lines = (scored: readonly Scored[]) => scored.flatMap((one) => lineCompletions(one));
  const share = (rights: boolean[]) => rights.filter(Boolean).length / Math.max(1, rights.length);
  const linesBefore = lines(before);
  return {
    files: before.length,
    bytes,
    bpb: { before: bpb(before), after: bpb(after) },
    exactMatch: { before: share(linesBefore), after: share(lines(after)), lines: linesBefore.length },
  };
}

/** Whether each completion of a line would be right, greedy: every prediction from the cursor to the line's end is the best. */
export function lineCompletions({ document: { bytes }, predictions }: Scored): boolean[] {
  const rights: boolean[] = [];
  let next = 0;
  for (const { cursor, end } of placesOf(bytes)) {
    while (next < predictions.length && predictions[next].offset < cursor) next++;
    let [right, completed] = [true, 0];
    for (let i = next; i < predictions.length && predictions[i].offset < end; i++) {
      right &&= predictions[i].isBest;
      completed += predictions[i].length;
    }
    if (completed >= LEAST_BYTES) rights.push(right);
  }
  return rights;
}

/** 95 % interval of the mean difference in bits per byte, texts drawn with replacement. */
function bootstrap(before: readonly Scored[], after: readonly Scored[], seed: number): [number, number] {
  const units = before.flatMap((scored, i) => partsOf(scored, after[i], before.length >= LEAST_FILES));
  const random = createRandom(seed);
  const differences = Array.from({ length: RESAMPLES }, () => {
    let [nats, bytes] = [0, 0];
    for (let i = 0; i < units.length; i++) {
      const unit = units[Math.floor(random() * units.length)];
      nats += unit.difference;
      bytes += unit.bytes;
    }
    return nats / Math.LN2 / bytes;
  }).sort((a, b) => a - b);
  return [differences[Math.floor(RESAMPLES * 0.025)], differences[Math.ceil(RESAMPLES * 0.975) - 1]];
}

function partsOf(before: Scored, after: Scored, isWhole: boolean): { difference: number; bytes: number }[] {
  const parts: { difference: number; bytes: number }[] = [];
  before.predictions.forEach(({ offset, length, nats }, i) => {
    const part = isWhole ? 0 : Math.floor(offset / PART_BYTES);
    parts[part] ??= { difference: 0, bytes: 0 };
    parts[part].difference += after.predictions[i].nats - nats;
    parts[part].bytes += length;
  });
  return parts.filter((part) => part !== undefined && part.bytes > 0);
}

function natsOf(predictions: readonly Prediction[]): number {
  return predictions.reduce((sum, { nats }) => sum + nats, 0);
}
