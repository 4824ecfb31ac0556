/**
 * The texts that the overlay and the explorer look at, in the model's thread: patched after each edit, lines in view first,
 * the rest when no suggestion is being computed. Answers questions about places in them.
 */
import { basename } from "node:path";
import type { TextDocumentContentChangeEvent } from "vscode-languageserver/node";
import { UserError } from "../model-runtime/errors";
import { generate } from "../model-runtime/generation/generate";
import { encode } from "../model-runtime/ids";
import { LexiconModel } from "../model-runtime/model/lexicon-model";
import type { TextModel, TextState } from "../model-runtime/model/text-state";
import type { Span } from "../model-runtime/patching/patched-buffer";
import { measureText } from "../model-runtime/statistics/measure";
import { base64 } from "./base64";
import { explain } from "./explain";
import { KeptSequences } from "./kept-sequences";
import type { Mix, MixedEntropies } from "./mixed-entropies";
import { type Continuation, EXPLORER_LIMIT, type LineRange, type Reading } from "./overlay-protocol";
import { ReadText } from "./read-text";
import type { Answer, FromReadings, Question, ToReadings } from "./readings-protocol";

export interface ReadingsOptions {
  model: TextModel;
  /** Folder of the model. */
  folder: string;
  send(message: FromReadings): void;
  /** Resolves when no suggestion is being computed. */
  whenIdle(): Promise<void>;
  /** The workspace's counts without those of a document itself; null when no workspace is counted. */
  mixFor?(uri: string): Mix | null;
}

/** Lines that are sent while there is more to read, so that the first ones are seen soon. */
const FLUSH_MS = 25;
/** Pause after the last edit before the lines of the overview ruler are looked for anew. */
const SURPRISE_PAUSE_MS = 250;
const MOST_SURPRISING = 40;
/** Bytes before a place that the model reads to say what it would have written, and bytes it writes. */
const CONTINUE_CONTEXT = 1024;
const CONTINUE_BYTES = 32;

interface Watched {
  uri: string;
  text: ReadText;
  /** Lines in view. */
  ranges: LineRange[];
  /** Lines whose values have changed since they were sent. */
  changed: LineRange | null;
  flushedAt: number;
  surpriseTimer: NodeJS.Timeout | undefined;
  /** Whether it has been said that all is known, since the last edit. */
  isToldSettled: boolean;
}

export class TextReadings {
  private readonly texts = new Map<string, Watched>();
  private readonly questions = new Map<number, AbortController>();
  private readonly continued: KeptSequences<TextState>;
  private readonly running = new Set<Promise<void>>();
  private isPumping = false;
  private isClosed = false;
  /** Resolves when questions may be answered. */
  private resting: Promise<void> = Promise.resolve();

  constructor(private readonly options: ReadingsOptions) {
    this.continued = new KeptSequences(() => options.model.createSequence());
  }

  handle(message: ToReadings): void {
    switch (message.type) {
      case "openText":
        this.open(message.uri, message.text, message.version);
        break;
      case "changeText":
        this.change(message.uri, message.changes, message.version);
        break;
      case "watchText":
        this.watch(message.uri, message.ranges, message.isMixed);
        break;
      case "closeText":
        clearTimeout(this.texts.get(message.uri)?.surpriseTimer);
        this.texts.delete(message.uri);
        break;
      case "ask":
        this.run(this.ask(message.id, message.question));
        break;
      case "withdraw":
        this.questions.get(message.id)?.abort(new Withdrawn());
        break;
    }
  }

  /** Ends all work; resolves when no network runs any more. */
  async close(): Promise<void> {
    this.isClosed = true;
    for (const { surpriseTimer } of this.texts.values()) clearTimeout(surpriseTimer);
    this.texts.clear();
    for (const question of this.questions.values()) question.abort(new Withdrawn());
    await Promise.all(this.running);
  }

  /** Does something during which the model must not be asked; questions at work begin anew after it. */
  async whileResting(work: () => Promise<void>): Promise<void> {
    let done!: () => void;
    this.resting = new Promise((resolve) => {
      done = resolve;
    });
    for (const question of this.questions.values()) question.abort(new Interrupted());
    // A run that has been asked for takes place; no other begins.
    await new Promise((resolve) => setImmediate(resolve));
    try {
      await work();
    } finally {
      done();
    }
  }

  private open(uri: string, content: string, version: number): void {
    const { model } = this.options;
    try {
      // Also what a question reads has to be drawn.
      const text = new ReadText(content, version, model.patching, model.patcher, (lines) => {
        const watched = this.texts.get(uri);
        if (watched?.text === text) watched.changed = joined(watched.changed, lines);
      });
      const flushedAt = performance.now();
      const rest = { ranges: [], changed: null, flushedAt, surpriseTimer: undefined, isToldSettled: false };
      this.texts.set(uri, { uri, text, ...rest });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.options.send({ type: "unreadable", uri, problem: error.message });
    }
  }

  private change(uri: string, changes: TextDocumentContentChangeEvent[], version: number): void {
    const watched = this.texts.get(uri);
    if (watched === undefined) return;
    for (const change of changes) {
      const { lines, added } = watched.text.change(change, version);
      const first = "range" in change ? change.range.start.line : 0;
      if (watched.changed !== null && watched.changed.to > first)
        watched.changed = { from: watched.changed.from, to: Math.max(first, watched.changed.to + added) };
      watched.changed = joined(watched.changed, lines);
    }
    watched.isToldSettled = false;
    this.pump();
  }

  private watch(uri: string, ranges: LineRange[], isMixed: boolean): void {
    const watched = this.texts.get(uri);
    if (watched === undefined) return;
    this.chooseEntropies(watched, isMixed);
    const isOld = (line: number) => watched.ranges.some(({ from, to }) => line >= from && line < to);
    watched.ranges = ranges.map(({ from, to }) => ({
      from: Math.max(0, from),
      to: Math.min(to, watched.text.lineCount),
    }));
    const fresh: number[] = [];
    for (const { from, to } of watched.ranges)
      for (let line = from; line < to; line++) if (!isOld(line)) fresh.push(line);
    this.sendLines(watched, runsOf(fresh));
    this.pump();
  }

  /** Shows the entropies with the workspace's counts or those without, and the former as the counts are now. */
  private chooseEntropies({ uri, text, ranges }: Watched, isMixed: boolean): void {
    const mix = isMixed ? (this.options.mixFor?.(uri) ?? null) : null;
    const mixed = mix === null ? null : text.mixWith(mix);
    mixed?.refresh();
    if (text.showsMixed === (mixed !== null)) return;
    text.showsMixed = mixed !== null;
    this.sendLines({ uri, text }, ranges);
  }

  /** Reads on while there is something to read. */
  private pump(): void {
    if (this.isPumping) return;
    this.isPumping = true;
    const reading = this.readOn().finally(() => {
      this.isPumping = false;
    });
    this.run(reading);
  }

  /** Keeps account of work until it has ended; a defect in it ends the thread. */
  private run(work: Promise<void>): void {
    const ended = work.finally(() => this.running.delete(ended));
    this.running.add(ended);
  }

  private async readOn(): Promise<void> {
    for (;;) {
      // An edit that has arrived meanwhile is taken before the next run.
      await new Promise((resolve) => setImmediate(resolve));
      const next = this.isClosed ? null : this.choose();
      for (const watched of this.texts.values()) if (this.isSeen(watched)) this.flush(watched);
      if (next === null) return;
      const { watched, first, mixed } = next;
      if (first === null || mixed !== null) await this.options.whenIdle();
      if (this.isClosed || this.texts.get(watched.uri) !== watched) continue;
      const { text } = watched;
      if (mixed !== null) {
        const { from, to } = await mixed.step(first);
        if (to > from) watched.changed = joined(watched.changed, text.linesOf({ from, to }));
      } else {
        await text.buffer.step(first === null ? {} : { first });
      }
      if (performance.now() > watched.flushedAt + FLUSH_MS) this.flush(watched);
      this.tell(watched);
    }
  }

  /**
   * What to read next: lines in view, then their entropies with the workspace's counts where these are shown, then the rest of
   * texts in view. `first` is null for what can wait.
   */
  private choose():
    | { watched: Watched; first: Span; mixed: MixedEntropies }
    | { watched: Watched; first: Span | null; mixed: null }
    | null {
    for (const watched of this.texts.values())
      for (const range of watched.ranges) {
        const first = watched.text.spanOf(range);
        if (!watched.text.buffer.isSettled(first.from, first.to)) return { watched, first, mixed: null };
      }
    for (const watched of this.texts.values())
      for (const range of watched.ranges) {
        const { mixed, showsMixed } = watched.text;
        const first = watched.text.spanOf(range);
        if (showsMixed && mixed !== null && !mixed.isSettled(first.from, first.to)) return { watched, first, mixed };
      }
    for (const watched of this.texts.values()) {
      // What is kept for further questions only is read when these come.
      if (watched.ranges.length === 0) continue;
      if (!watched.text.buffer.isSettled()) return { watched, first: null, mixed: null };
      this.tell(watched);
    }
    return null;
  }

  /** Whether all that is shown is known. */
  private isSeen({ text, ranges }: Watched): boolean {
    const mixed = text.showsMixed ? text.mixed : null;
    return ranges.every((range) => {
      const { from, to } = text.spanOf(range);
      return text.buffer.isSettled(from, to) && (mixed?.isSettled(from, to) ?? true);
    });
  }

  /** Sends what has changed of the lines in view. */
  private flush(watched: Watched): void {
    const { changed, ranges } = watched;
    watched.flushedAt = performance.now();
    if (changed === null) return;
    watched.changed = null;
    const cuts = ranges.map(({ from, to }) => ({ from: Math.max(from, changed.from), to: Math.min(to, changed.to) }));
    this.sendLines(watched, cuts);
  }

  private sendLines({ uri, text }: Pick<Watched, "uri" | "text">, ranges: readonly LineRange[]): void {
    const parts = ranges
      .filter(({ from, to }) => from < to)
      .map((range) => ({ line: range.from, lines: text.views(range) }));
    if (parts.length > 0) this.options.send({ type: "lines", uri, version: text.version, parts });
  }

  /** How far a text is read; when it is all read, the surprising lines follow after a pause. */
  private tell(watched: Watched): void {
    const { uri, text } = watched;
    const isSettled = text.buffer.isSettled() && this.isSeen(watched);
    if (!isSettled || watched.isToldSettled) return;
    watched.isToldSettled = true;
    clearTimeout(watched.surpriseTimer);
    watched.surpriseTimer = setTimeout(() => {
      if (!text.buffer.isSettled()) return;
      const lines = text.surprisingLines(MOST_SURPRISING);
      this.options.send({ type: "settled", uri, version: text.version, surprising: lines });
    }, SURPRISE_PAUSE_MS).unref();
  }

  private async ask(id: number, question: Question): Promise<void> {
    const controller = new AbortController();
    this.questions.set(id, controller);
    try {
      await this.resting;
      controller.signal.throwIfAborted();
      this.options.send({ type: "answer", id, answer: await this.answer(question, controller.signal) });
    } catch (error) {
      if (error instanceof Interrupted && !this.isClosed) return await this.ask(id, question);
      if (!(error instanceof UserError || error instanceof Withdrawn || error instanceof Interrupted)) throw error;
      this.options.send({ type: "answer", id, answer: { problem: error.message } });
    } finally {
      if (this.questions.get(id) === controller) this.questions.delete(id);
      if (!this.isClosed) this.pump();
    }
  }

  private async answer(question: Question, signal: AbortSignal): Promise<Answer> {
    switch (question.kind) {
      case "explain": {
        const text = this.textOf(question.uri);
        const { model, mixFor } = this.options;
        return explain(text, text.byteAt(question.position), model.patcher, signal, mixFor?.(question.uri) ?? null);
      }
      case "continue": {
        const text = this.textOf(question.uri);
        return this.continue(text.buffer.bytes(0, text.byteAt(question.position)), signal);
      }
      case "read":
        return this.read(question, signal);
      case "measure": {
        return measureText(this.options.model, question.bytes, { signal, turn: this.options.whenIdle });
      }
    }
  }

  private textOf(uri: string): ReadText {
    const watched = this.texts.get(uri);
    if (watched === undefined) throw new UserError("The document was closed.");
    return watched.text;
  }

  private async continue(before: Uint8Array, signal: AbortSignal): Promise<Continuation> {
    const { whenIdle } = this.options;
    await whenIdle();
    signal.throwIfAborted();
    // A window that moves in big steps begins with the same bytes for places near each other.
    const step = CONTINUE_CONTEXT / 2;
    const from = before.length <= CONTINUE_CONTEXT ? 0 : Math.ceil((before.length - CONTINUE_CONTEXT) / step) * step;
    const { sequence, prompt } = this.continued.take(encode(before.subarray(from)));
    const bytes: number[] = [];
    const steps = generate(sequence, prompt, { temperature: 0, maxBytes: CONTINUE_BYTES, signal });
    for (let step = await steps.next(); !step.done; step = await steps.next()) {
      if (step.value.byte === NEWLINE && bytes.length > 0) break;
      bytes.push(step.value.byte);
      await whenIdle();
    }
    await steps.return("aborted");
    signal.throwIfAborted();
    return { text: new TextDecoder().decode(Uint8Array.from(bytes)).replace(/\uFFFD+$/, "") };
  }

  /** The entropies of a text, or of its beginning, that are known when the patience is at its end. */
  private async read({ uri, patienceMs, isMixed }: Question & { kind: "read" }, signal: AbortSignal): Promise<Reading> {
    const text = this.textOf(uri);
    const { model, folder, whenIdle, mixFor } = this.options;
    const { buffer } = text;
    let to = Math.min(buffer.length, EXPLORER_LIMIT);
    while (to < buffer.length && to > 0 && (buffer.bytes(to, to + 1)[0] & 0xc0) === 0x80) to--;
    const { version } = text;
    const deadline = performance.now() + patienceMs;
    const mix = isMixed ? (mixFor?.(uri) ?? null) : null;
    const mixed = mix === null ? null : text.mixWith(mix);
    const isComplete = () => buffer.isSettled(0, to) && (mixed?.isSettled(0, to) ?? true);
    while (!isComplete() && performance.now() < deadline) {
      await whenIdle();
      if (!buffer.isSettled(0, to)) await buffer.step({ first: { from: 0, to }, signal });
      else await mixed?.step({ from: 0, to }, signal);
      signal.throwIfAborted();
      // The client asks again after an edit.
      if (text.version !== version) throw new UserError("The document was changed while it was read.");
    }
    const bytes = buffer.bytes(0, to);
    return {
      version,
      text: Buffer.from(bytes).toString("utf8"),
      wholeBytes: buffer.length,
      entropies: base64(buffer.entropies(0, to)),
      mixed: mixed === null ? null : base64(mixed.entropies(0, to)),
      isComplete: isComplete(),
      patching: buffer.patching,
      model: basename(folder),
      pieces: model instanceof LexiconModel ? base64(await pieceStarts(model, bytes)) : null,
    };
  }
}

/** The question is to be answered anew, by another model. */
class Interrupted extends Error {
  override message = "The model is being changed.";
}

/** The question is no longer wanted. */
class Withdrawn extends Error {
  override message = "The request was taken back.";
}

const NEWLINE = 0x0a;

/** Where the pieces of a text start, as its latent transformer steps over them. */
async function pieceStarts(model: LexiconModel, bytes: Uint8Array): Promise<Uint32Array> {
  const sequence = model.createSequence();
  await sequence.append(encode(bytes), { logits: "none" });
  const starts = sequence.patchStarts.map((position) => position - 1).filter((at) => at >= 0 && at < bytes.length);
  return Uint32Array.from(starts);
}

function joined(a: LineRange | null, b: LineRange): LineRange {
  return a === null ? b : { from: Math.min(a.from, b.from), to: Math.max(a.to, b.to) };
}

/** Ascending numbers -> runs of neighbours. */
function runsOf(lines: readonly number[]): LineRange[] {
  const runs: LineRange[] = [];
  for (const line of lines) {
    const last = runs.at(-1);
    if (last?.to === line) last.to++;
    else if (last === undefined || line > last.to) runs.push({ from: line, to: line + 1 });
  }
  return runs;
}
