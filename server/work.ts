/**
 * One run of the model: the text it continues, the requests that wait for it, and what of it can be shown. Its end is not
 * bound to a request's: a request is cancelled at each key, while the work may well have written just that key.
 */
import type { CancellationToken } from "vscode-languageserver/node";
import type { CachedText } from "./cache";
import { cutToWord } from "./completion";
import type { Context } from "./context";
import type { OpenDocument } from "./documents";
import type { Extent } from "./extent";
import { confidentLength, meanProbability } from "./gate";
import type { Job, JobResult } from "./model-host";

/** How long work nobody waits for goes on, ms: the editor's next request comes with the next key. */
const ORPHAN_MS = 250;
/** How often waiting requests look at what was written, ms. */
const LOOK_MS = 10;

export interface WorkOptions {
  uri: string;
  context: Context;
  extent: Extent["kind"];
  minConfidence: number;
}

export class Work {
  readonly uri: string;
  /** Text that it continues, as the model sees it. */
  readonly context: string;
  readonly extent: Extent["kind"];
  /** Whether its first words were shown; it then goes on to its end. */
  isPartlyShown = false;
  private readonly source: string;
  private readonly minConfidence: number;
  private waiting = 0;
  private orphanTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly job: Job,
    { uri, context, extent, minConfidence }: WorkOptions,
  ) {
    this.uri = uri;
    this.context = context.text;
    this.source = context.source;
    this.extent = extent;
    this.minConfidence = minConfidence;
  }

  /** Whether a document's text is still the one that it continues, as far as that goes. */
  isStillIn({ uri, text, window }: OpenDocument): boolean {
    return (
      uri !== this.uri || (text !== null && window !== null && text.getText().startsWith(this.source, window.start))
    );
  }

  /** Whether a request had best wait for it: for what it writes, or at least until it has read the text up to there. */
  mayServe(uri: string, context: string, extent: Extent["kind"]): boolean {
    return uri === this.uri && extent === this.extent && context.startsWith(this.context) && this.agrees(context);
  }

  /** Whether what was typed since it began is what it wrote; unknown, and so true, before its first byte. */
  agrees(context: string): boolean {
    const { bytes } = this.job.soFar();
    return bytes.length === 0 || decode(bytes).startsWith(context.slice(this.context.length));
  }

  /** Waits until it has ended, the request was cancelled, or the bytes written are enough. */
  async wait(token: CancellationToken, isEnough: () => boolean): Promise<JobResult["end"] | "cancelled" | "enough"> {
    clearTimeout(this.orphanTimer);
    this.waiting++;
    let looking: NodeJS.Timeout | undefined;
    const enough = new Promise<"enough">((resolve) => {
      looking = setInterval(() => isEnough() && resolve("enough"), LOOK_MS).unref();
    });
    const done = this.job.done.then(({ end }) => end);
    const end = await Promise.race([done, cancellationOf(token), enough]);
    clearInterval(looking);
    this.waiting--;
    if (end === "cancelled" && this.waiting === 0 && !this.isPartlyShown) {
      this.orphanTimer = setTimeout(() => this.abort(), ORPHAN_MS);
      void done.then(() => clearTimeout(this.orphanTimer));
    }
    return end;
  }

  abort(): void {
    this.job.abort();
  }

  /** What can be shown of the bytes written until now. */
  soFar(): CachedText {
    return this.presentable({ end: "time", ...this.job.soFar() });
  }

  /** What can be shown: confident, whole characters, no half word at a limit. */
  presentable({ end, bytes, logProbs }: JobResult): CachedText {
    const length = confidentLength(bytes, logProbs, this.minConfidence);
    const text = decode(bytes.subarray(0, length));
    if (length === 0 && bytes.length > 0) {
      const isCut = end !== "rule" && end !== "eos";
      const doubt = { text: decode(bytes), isCut, probability: meanProbability(logProbs), least: this.minConfidence };
      return { text, ending: "unsure", doubt };
    }
    if (length < bytes.length) return { text, ending: "unsure" };
    return end === "rule" || end === "eos" ? { text, ending: "whole" } : { text: cutToWord(text), ending: "limit" };
  }
}

/** Resolves when the request is cancelled. */
export function cancellationOf(token: CancellationToken): Promise<"cancelled"> {
  if (token.isCancellationRequested) return Promise.resolve("cancelled");
  return new Promise((resolve) => token.onCancellationRequested(() => resolve("cancelled")));
}

/** The bytes as text, up to the first that belongs to no whole character or is no text. */
function decode(bytes: Uint8Array): string {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const end = text.search(/[\uFFFD\0-\x08\x0B-\x1F\x7F]/);
  return end < 0 ? text : text.slice(0, end);
}
