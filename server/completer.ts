/**
 * One request for a suggestion from the document to the item: rules, cache, running work that still agrees, model, cuts.
 * A request is answered as soon as it is cancelled; the model's work goes on for a moment, because the next request
 * usually continues the same text.
 */
import {
  type CancellationToken,
  type InlineCompletionItem,
  type InlineCompletionParams,
  InlineCompletionTriggerKind,
  type Position,
} from "vscode-languageserver/node";
import type { CompletionMarks } from "../model-runtime/checkpoint/completion-marks";
import { type CachedText, type Doubt, SuggestionCache } from "./cache";
import { quoted, toInsertion } from "./completion";
import { type Context, contextAt, windowLimit } from "./context";
import type { Documents, OpenDocument } from "./documents";
import { type Extent, extentAt } from "./extent";
import { type Refusal, refuseDocument, refusePlace } from "./gate";
import type { ModelHost } from "./model-host";
import { bytesOf } from "./model-text";
import type { Decision, Measurements, Settings } from "./protocol";
import { cancellationOf, Work } from "./work";
import type { ModelRequest } from "./worker-protocol";

/** Time for the bytes of a suggestion, ms. */
const LIMIT_MS = { automatic: 1500, invoked: 4000 };
/**
 * Time for all other suggestions at a place, ms: the first one waits for them. Whoever asks where one is shown already
 * wants to see another; whoever asks where nothing is shown wants to see something.
 */
const ALTERNATIVES_MS = { shown: 1200, first: 300 };
/** When an automatic request is answered with the words that are there; the model goes on behind them. */
const PATIENCE_MS: Record<Extent["kind"], number> = { line: 150, block: 400 };

export interface CompleterOptions {
  documents: Documents;
  host: Pick<ModelHost, "complete" | "state">;
  settings(): Settings;
  /** How the model is told what follows the cursor; null, or when undefined: not at all. */
  marks?(): CompletionMarks | null;
  /** Told of each request when it is answered, and of the text that is shown; null when nothing is. */
  onDecision(decision: Decision, shownText: string | null): void;
  /** What a request says of its document beyond the context; `cursor` in UTF-16 code units. */
  around?(document: OpenDocument, cursor: number): ModelRequest["around"];
  /** Whether what follows a suggestion is worked out while it is shown, for when it is accepted; false when undefined. */
  mayWorkAhead?(): boolean;
}

/** Other suggestions at a place where one was asked for by hand. */
const ALTERNATIVES = 2;

export class Completer {
  private readonly cache = new SuggestionCache();
  /** What the model does now; one at a time. */
  private work: Work | null = null;
  readonly answers: Measurements["answers"] = { fromModel: 0, fromRunning: 0, fromCache: 0 };
  private last: LastRequest | null = null;

  constructor(private readonly options: CompleterOptions) {}

  /** The item for a request; null when nothing is shown, and why is told to `onDecision`. */
  async complete(params: InlineCompletionParams, token: CancellationToken): Promise<InlineCompletionItem | null> {
    const started = performance.now();
    const outcome = await this.outcome(params, token);
    const isShown = "item" in outcome;
    const { line, character } = params.position;
    const decision: Decision = {
      uri: params.textDocument.uri,
      line,
      character,
      time: Date.now(),
      ms: performance.now() - started,
      ...(isShown ? shown[outcome.from] : outcome),
    };
    this.options.onDecision(decision, isShown ? (outcome.item.insertText as string) : null);
    if (!isShown) return null;
    this.answers[outcome.from]++;
    if (!this.last?.place.invoked) this.workAhead(outcome.item);
    return outcome.item;
  }

  /**
   * Other items than `item` where it was asked for by hand, from the same reading of the text; none after an edit, or when
   * the request is cancelled.
   */
  async alternatives(item: InlineCompletionItem, token: CancellationToken): Promise<InlineCompletionItem[]> {
    const { last } = this;
    if (last === null || !last.place.invoked) return [];
    const items = [item];
    const started = performance.now();
    for (let alternative = 1; alternative <= ALTERNATIVES; alternative++) {
      const left = ALTERNATIVES_MS[last.wasShown ? "shown" : "first"] - (performance.now() - started);
      const isStale = last.document.version !== last.version || this.work !== null || token.isCancellationRequested;
      if (isStale || left <= 0) break;
      const { document, place, extent } = last;
      const cursor = document.text!.offsetAt(place.end);
      const work = this.begin(document, cursor, place.context, extent, this.options.settings(), left, { alternative });
      const end = await work.wait(token, () => false);
      if (end === "cancelled" || end === "aborted" || end === "failed") break;
      const outcome = toOutcome(work.soFar(), "fromModel", place);
      if ("item" in outcome && items.every(({ insertText }) => insertText !== outcome.item.insertText))
        items.push(outcome.item);
    }
    if (last.document.version === last.version && this.work === null) this.workAhead(item);
    return items.slice(1);
  }

  /** Begins what follows when the item is accepted: an edit that does anything else makes it stale, any request too. */
  private workAhead(item: InlineCompletionItem): void {
    const { last } = this;
    if (last === null || last.place.selected !== "" || this.work !== null) return;
    if (!(this.options.mayWorkAhead?.() ?? false)) return;
    const settings = this.options.settings();
    const context = contextAfter(item, last.place);
    if (refusePlace(context, false) !== null) return;
    const extent = extentAt(context, { multiline: settings.multiline, invoked: false });
    if (this.cache.get(last.document.uri, context.text, extent.kind) === null)
      this.begin(
        last.document,
        last.document.text!.offsetAt(last.place.end),
        context,
        extent,
        settings,
        LIMIT_MS.automatic,
        { alternative: 0 },
      );
  }

  /** Whether the model has nothing to do for a request. */
  get isIdle(): boolean {
    return this.work === null;
  }

  /** An edit makes running work stale, unless it leaves the text that the work continues as it was. */
  documentChanged(document: OpenDocument): void {
    if (this.work !== null && !this.work.isStillIn(document)) this.drop();
  }

  /** What the model wrote before is no longer what it would write. */
  modelChanged(): void {
    this.cache.clear();
    this.drop();
  }

  private async outcome(params: InlineCompletionParams, token: CancellationToken): Promise<Outcome> {
    const settings = this.options.settings();
    const found = refuseDocument(this.options.documents.get(params.textDocument.uri), settings);
    if (found.refusal !== null) return found.refusal;
    const { document } = found;
    const { version } = document;
    const text = document.text!;
    const offset = text.offsetAt(params.position);
    const selected = params.context.selectedCompletionInfo;
    const from = selected === undefined ? offset : Math.min(offset, text.offsetAt(selected.range.start));
    const place: Place = {
      context: contextAt(
        document,
        { from, to: offset, selected: selected?.text ?? "" },
        windowLimit(settings, this.options.host.state),
      ),
      selected: selected?.text ?? "",
      start: text.positionAt(from),
      end: text.positionAt(offset),
      invoked: params.context.triggerKind === InlineCompletionTriggerKind.Invoked,
    };
    const { context, invoked } = place;
    const refusal = refusePlace(context, invoked);
    if (refusal !== null) return refusal;
    const extent = extentAt(context, { multiline: settings.multiline, invoked });

    const { last } = this;
    const isSamePlace = last?.document === document && last.version === version && last.offset === offset;
    const request = { document, version, offset, place, extent, isShown: false, wasShown: isSamePlace && last.isShown };
    this.last = request;
    const showAt = invoked ? Number.POSITIVE_INFINITY : performance.now() + PATIENCE_MS[extent.kind];
    let source: keyof Measurements["answers"] = "fromCache";
    for (;;) {
      // Work whose first words were shown has gone on meanwhile.
      if (this.work?.isPartlyShown) this.remember(this.work, this.work.soFar());
      const known = this.cache.get(document.uri, context.text, extent.kind);
      if (known !== null) {
        const outcome = toOutcome(known, source, place);
        request.isShown = "item" in outcome;
        return outcome;
      }
      let work = this.work?.mayServe(document.uri, context.text, extent.kind) ? this.work : null;
      source = work === null ? "fromModel" : "fromRunning";
      if (work === null) {
        if (!invoked && (await isCancelledWithin(delayAfter(context.text, settings.delay), token))) {
          return this.cancelled();
        }
        if (document.version !== version) return superseded;
        work = this.begin(document, offset, context, extent, settings, invoked ? LIMIT_MS.invoked : LIMIT_MS.automatic);
      }
      const isEnough = () => !work.agrees(context.text) || (performance.now() >= showAt && this.showsPart(work, place));
      const end = await work.wait(token, isEnough);
      if (end === "cancelled") return this.cancelled();
      if (document.version !== version || end === "aborted") return superseded;
      if (end === "failed") return this.modelProblem();
      // What was written is in the cache now; where it disagrees or is too short, the model begins anew.
    }
  }

  private begin(
    document: OpenDocument,
    cursor: number,
    context: Context,
    extent: Extent,
    settings: Settings,
    timeLimitMs: number,
    ahead: { alternative: number } | null = null,
  ): Work {
    const { uri } = document;
    this.drop();
    const job = this.options.host.complete({
      context: bytesOf(context, this.options.marks?.() ?? null),
      extent,
      around: this.options.around?.(document, cursor),
      maxBytes: settings.maxSuggestionBytes,
      timeLimitMs,
      minConfidence: settings.minConfidence,
      alternative: ahead?.alternative ?? 0,
      isAhead: ahead !== null,
    });
    const work = new Work(job, { uri, context, extent: extent.kind, minConfidence: settings.minConfidence });
    this.work = work;
    void job.done.then((result) => {
      if (this.work === work) this.work = null;
      const isDone = result.end !== "aborted" && result.end !== "failed";
      if (isDone && (ahead?.alternative ?? 0) === 0) this.remember(work, work.presentable(result));
    });
    return work;
  }

  private drop(): void {
    this.work?.abort();
    this.work = null;
  }

  /** Whether the words that are there make an item; they are remembered then. */
  private showsPart(work: Work, place: Place): boolean {
    const written = work.soFar();
    const typed = place.context.text.slice(work.context.length);
    if (!written.text.startsWith(typed) || written.text === typed) return false;
    const rest = { ...written, text: written.text.slice(typed.length) };
    if (!("item" in toOutcome(rest, "fromRunning", place))) return false;
    this.remember(work, written);
    work.isPartlyShown = true;
    return true;
  }

  private remember(work: Work, written: CachedText): void {
    this.cache.put(work.uri, work.context, work.extent, written);
  }

  private cancelled(): Refusal {
    return this.options.host.state.kind === "loading"
      ? { reason: "modelLoading", sentence: "The model was still being loaded." }
      : { reason: "cancelled", sentence: "The editor took the request back before the suggestion was ready." };
  }

  private modelProblem(): Refusal {
    const { state } = this.options.host;
    return state.kind === "problem"
      ? { reason: "modelProblem", sentence: state.sentence }
      : { reason: "modelProblem", sentence: "The model stopped while it worked and is being started again." };
  }
}

/** The last request that reached the model or its answers. */
interface LastRequest {
  document: OpenDocument;
  version: number;
  /** The cursor, UTF-16 code units. */
  offset: number;
  place: Place;
  extent: Extent;
  /** Whether a suggestion was shown for it. */
  isShown: boolean;
  /** Whether one was shown at its place before. */
  wasShown: boolean;
}

type Outcome = { item: InlineCompletionItem; from: keyof Measurements["answers"] } | Refusal;

const shown = {
  fromModel: { reason: "shown", sentence: "A suggestion was sent to the editor." },
  fromRunning: { reason: "shown", sentence: "A suggestion that was under way already was sent to the editor." },
  fromCache: { reason: "shownFromCache", sentence: "The rest of an earlier suggestion was sent to the editor." },
} as const;

const superseded: Refusal = {
  reason: "cancelled",
  sentence: "A newer request or an edit made this one stale before the suggestion was ready.",
};

/** Where a suggestion is asked for. */
interface Place {
  context: Context;
  /** The entry selected in the editor's list of completions, which the suggestion must begin with; else empty. */
  selected: string;
  /** The range that the selected entry would replace; without one both are the cursor. */
  start: Position;
  end: Position;
  invoked: boolean;
}

function toOutcome(known: CachedText, from: keyof Measurements["answers"], place: Place): Outcome {
  if (known.text === "" && known.ending === "unsure") {
    return { reason: "lowConfidence", sentence: doubtSentence(known.doubt) };
  }
  if (known.text === "" && known.ending === "limit") {
    return { reason: "emptyPrediction", sentence: "The model did not finish a word within the limits." };
  }
  const fitted = toInsertion(known.text, place.context, { invoked: place.invoked });
  if ("reason" in fitted) return fitted;
  const { start, end } = place;
  const range = {
    start: { line: start.line, character: start.character - fitted.replacesBefore },
    end: { line: end.line, character: end.character + fitted.replacesAfter },
  };
  return { item: { insertText: place.selected + fitted.text, range }, from };
}

/** Longest text of a suggestion that a reason quotes, characters. */
const LONGEST_QUOTE = 40;

/** What would have been shown, and how sure the model was: whoever misses suggestions can set `blt.minConfidence` by it. */
function doubtSentence(doubt: Doubt | undefined): string {
  const line = doubt?.text.trim().split("\n", 1)[0] ?? "";
  if (doubt === undefined || line === "") return "The model is not sure enough (setting blt.minConfidence).";
  const isWhole = !doubt.isCut && line === doubt.text.trim() && line.length <= LONGEST_QUOTE;
  const text = line.slice(0, LONGEST_QUOTE) + (isWhole ? "" : "…");
  // Rounded down, so that it is never the percentage that is asked for.
  const percent = Math.floor(100 * doubt.probability);
  const least = Number((100 * doubt.least).toFixed(1));
  return `The model is only ${percent} % sure of ${quoted(text)} (setting blt.minConfidence: ${least} %).`;
}

/** The context when the item has been accepted, the cursor behind it. */
function contextAfter({ insertText, range }: InlineCompletionItem, { context, start, end }: Place): Context {
  const replacedBefore = start.character - range!.start.character;
  const replacedAfter = range!.end.character - end.character;
  const inserted = insertText as string;
  const seen = inserted.replaceAll("\r\n", "\n");
  const before = (text: string) => text.slice(0, text.length - replacedBefore);
  return {
    ...context,
    text: before(context.text) + seen,
    source: before(context.source) + inserted,
    lineRest: context.lineRest.slice(replacedAfter),
  };
}

/** No pause where a new thought begins: after a line end, a dot, an opening bracket. */
function delayAfter(context: string, delay: number): number {
  return context === "" || /[\n.([{]\s*$/.test(context.slice(-40)) ? 0 : delay;
}

async function isCancelledWithin(ms: number, token: CancellationToken): Promise<boolean> {
  if (token.isCancellationRequested || ms === 0) return token.isCancellationRequested;
  await Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), cancellationOf(token)]);
  return token.isCancellationRequested;
}
