/** Measures for the verdict: the base model before training, the adapter after it, both on the same texts and lines. */
import type { LowRank } from "../model/low-rank";
import type { WorkspaceIndex } from "../ngram/workspace-index";
import type { SessionOptions } from "../session";
import { collapseOf, continuations } from "./collapse";
import type { Dataset } from "./dataset";
import { generalSample } from "./general-sample";
import type { Kit } from "./kit";
import { completeLines, countsOf, type LinePlace, type LineResults, samplePlaces } from "./line-completions";
import { Stopwatch } from "./stopwatch";
import type { Document } from "./trainee";
import { judge, type Scored, scoreDocuments, type Verdict } from "./verdict";

/** What the verdict compares with. */
export interface Judged {
  general: Scored[];
  heldOut: Scored[];
  prompts: Uint8Array[];
  written: Uint8Array[];
  counts: WorkspaceIndex;
  places: LinePlace[];
  lines: LineResults;
  /** What all of it took, seconds. */
  seconds: number;
}

export interface JudgeOptions extends SessionOptions {
  /** Of the whole run. */
  minutes: number;
  seed: number;
}

export interface JudgeHooks {
  onProgress(fraction: number): void;
  whilePaused(): Promise<void>;
  signal: AbortSignal;
}

/** Shares of the whole time for scores of texts and for completing lines, once before and once after. */
const SCORING_SHARE = 0.06;
const LINES_SHARE = 0.04;
/** Lines that are completed at least, and at most. */
const LEAST_LINES = 4;
const MOST_LINES = 200;
/** How much longer than before a part of the judging may take, when the machine has become slower. */
const PATIENCE = 1.5;

export async function measureBase(
  kit: Kit,
  dataset: Dataset,
  options: JudgeOptions,
  { onProgress, whilePaused, signal }: JudgeHooks,
): Promise<Judged> {
  const time = new Stopwatch();
  const wait = () => time.pauseFor(whilePaused());
  const scorer = await kit.scorer(null, options);
  const whole = generalSample();
  const began = time.seconds;
  const first = await scoreDocuments(scorer, whole.slice(0, 1), { signal, whilePaused: wait });
  const speed = first[0].document.bytes.length / (time.seconds - began);
  const affordable = speed * options.minutes * 60 * SCORING_SHARE;
  const general = await scoreDocuments(scorer, fitting(whole, affordable / 3), { signal, whilePaused: wait });
  onProgress(0.2);
  const texts = fitting(dataset.heldOut, affordable);
  const heldOut = await scoreDocuments(scorer, texts, { signal, whilePaused: wait });
  await scorer.release();
  onProgress(0.6);
  // Short runs are guarded by one text, longer ones by three.
  const prompts = texts
    .slice(0, options.minutes < 5 ? 1 : 3)
    .map(({ bytes }) => bytes.subarray(0, Math.min(400, bytes.length >> 1)));
  const [counts, places] = [countsOf(dataset.train), samplePlaces(dataset.heldOut, options.seed).slice(0, MOST_LINES)];
  const model = await kit.textModel(null, options);
  const written = await continuations(model, prompts, signal);
  onProgress(0.7);
  const end = time.seconds + options.minutes * 60 * LINES_SHARE;
  const lines = await completeLines(model, counts, places, {
    isLate: (done) => done >= LEAST_LINES && time.seconds > end,
    whilePaused: wait,
    signal,
  });
  await model.release();
  return { general, heldOut, prompts, written, counts, places, lines, seconds: time.seconds };
}

/** The verdict on an adapter. What takes much longer than it did before is cut short: both sides then have fewer texts. */
export async function judgeAdapter(
  kit: Kit,
  judged: Judged,
  lowRank: LowRank,
  options: JudgeOptions,
  { onProgress, whilePaused, signal }: JudgeHooks,
): Promise<Verdict> {
  const time = new Stopwatch();
  const wait = () => time.pauseFor(whilePaused());
  const allowed = PATIENCE * judged.seconds;
  const isLate = (share: number) => () => time.seconds > allowed * share;
  const scorer = await kit.scorer(lowRank, options);
  const after = async (before: readonly Scored[], share: number) => {
    const documents = before.map(({ document }) => document);
    const scored = await scoreDocuments(scorer, documents, { signal, whilePaused: wait, isLate: isLate(share) });
    return { before: before.slice(0, scored.length), after: scored };
  };
  const general = await after(judged.general, 0.3);
  onProgress(0.2);
  const heldOut = await after(judged.heldOut, 0.8);
  await scorer.release();
  onProgress(0.6);
  const model = await kit.textModel(lowRank, options);
  const written = await continuations(model, judged.prompts, signal);
  onProgress(0.7);
  const places = judged.places.slice(0, judged.lines.plain.length);
  const lines = await completeLines(model, judged.counts, places, {
    isLate: (done) => done >= LEAST_LINES && isLate(1)(),
    whilePaused: wait,
    signal,
  });
  await model.release();
  return judge(heldOut, general, collapseOf(judged.written, written), {
    seed: options.seed,
    lines: { before: judged.lines, after: lines },
  });
}

/** Beginnings of all documents, shortened to a common length where they are too many bytes to be scored. */
function fitting(documents: readonly Document[], mostBytes: number): Document[] {
  let [low, high] = [500, Math.max(500, ...documents.map(({ bytes }) => bytes.length))];
  const sum = (length: number) => documents.reduce((total, { bytes }) => total + Math.min(length, bytes.length), 0);
  while (high - low > 100) {
    const middle = (low + high) / 2;
    if (sum(middle) > mostBytes) high = middle;
    else low = middle;
  }
  let left = Math.max(mostBytes, 4000);
  const chosen: Document[] = [];
  for (const document of documents) {
    if (left <= 0) break;
    const bytes = document.bytes.subarray(0, Math.ceil(high));
    chosen.push({ ...document, bytes });
    left -= bytes.length;
  }
  return chosen;
}
