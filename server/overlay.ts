/**
 * The overlay's and the explorer's side of the LSP thread: knows which documents are looked at, hands their text and its
 * changes to the model's thread, and what comes back to the client. Computes nothing, so that typing never waits for it.
 */
import type {
  CancellationToken,
  DidChangeTextDocumentParams,
  TextDocumentContentChangeEvent,
} from "vscode-languageserver/node";
import { type Documents, MAX_DOCUMENT_LENGTH } from "./documents";
import type { HostState } from "./host-state";
import type { ModelHost } from "./model-host";
import {
  type ExploreParams,
  LINES_NOTIFICATION,
  type LineRange,
  type PlaceParams,
  READING_NOTIFICATION,
  type ReadingState,
  type WatchParams,
} from "./overlay-protocol";
import type { Answer, FromReadings, Question } from "./readings-protocol";

export interface OverlayOptions {
  documents: Documents;
  host: Pick<ModelHost, "tell" | "wake" | "state">;
  /** Whether the model may be used at all (setting `blt.enable`). */
  isEnabled(): boolean;
  notify(method: string, params: object): void;
  /** How long a text is kept after a question about it, for the next one, ms. */
  lingerMs?: number;
}

const DEFAULT_LINGER_MS = 60_000;

interface Looked {
  /** Lines in view. */
  ranges: LineRange[];
  /** Whether their entropies are those with the workspace's counts. */
  isMixed: boolean;
  /** Whether the model's thread has its text. */
  isTold: boolean;
  /** Questions about it that wait or were answered lately; it is closed when there is none and nothing in view. */
  questions: number;
}

export class Overlay {
  private readonly looked = new Map<string, Looked>();
  private readonly waiting = new Map<
    number,
    { resolve: (answer: Answer) => void; tell: () => boolean; isTold: boolean }
  >();
  private nextId = 1;
  private wasLoaded = false;

  constructor(private readonly options: OverlayOptions) {}

  /** Lines of a document come into view or leave it. */
  watch({ uri, ranges, isMixed = false }: WatchParams): void {
    const looked = this.looked.get(uri);
    if (ranges.length === 0) {
      if (looked === undefined) return;
      looked.ranges = [];
      this.closeUnneeded(uri);
      return;
    }
    const problem = this.problemOf(uri);
    if (problem !== null) {
      this.say({ uri, problem, surprising: null });
      return;
    }
    const watched = this.lookAt(uri);
    watched.ranges = ranges;
    watched.isMixed = isMixed;
    this.tell(uri);
    this.sayState(uri);
  }

  documentChanged({ textDocument: { uri, version }, contentChanges: changes }: DidChangeTextDocumentParams): void {
    const looked = this.looked.get(uri);
    if (looked === undefined) return;
    const problem = this.problemOf(uri);
    if (problem !== null) {
      this.say({ uri, problem, surprising: null });
      this.forget(uri);
      return;
    }
    if (looked.isTold && changes.length > 0)
      looked.isTold = this.options.host.tell({ type: "changeText", uri, changes: changes.map(plainChange), version });
    if (!looked.isTold) this.options.host.wake();
  }

  documentClosed(uri: string): void {
    this.forget(uri);
  }

  /** What is looked at has to be told to a model that was loaded anew. */
  modelChanged(state: HostState): void {
    const isLoaded = state.kind === "ready" || state.kind === "working";
    // Each suggestion changes the state to and fro.
    if (isLoaded && this.wasLoaded) return;
    this.wasLoaded = isLoaded;
    for (const [uri, looked] of this.looked) {
      if (!isLoaded) looked.isTold = false;
      else if (!looked.isTold) this.tell(uri);
      this.sayState(uri);
    }
    for (const [id, question] of this.waiting) {
      if (state.kind === "problem") this.resolve(id, { problem: state.sentence });
      else if (!isLoaded) {
        // A thread that has ended answers nothing any more: it is asked again.
        question.isTold = false;
      } else if (!question.isTold) question.isTold = question.tell();
    }
    if (state.kind === "unloaded" && this.waiting.size > 0) this.options.host.wake();
  }

  received(message: FromReadings): void {
    switch (message.type) {
      case "lines": {
        const { type, ...params } = message;
        if (this.looked.has(params.uri)) this.options.notify(LINES_NOTIFICATION, params);
        break;
      }
      case "settled": {
        const { uri, version, surprising } = message;
        this.say({ uri, problem: null, surprising: { version, lines: surprising } });
        break;
      }
      case "unreadable":
        this.say({ uri: message.uri, problem: message.problem, surprising: null });
        this.forget(message.uri);
        break;
      case "answer":
        this.resolve(message.id, message.answer);
        break;
    }
  }

  /** Answers a question about a place in a document, or about its whole text. */
  async ask(
    params: ExploreParams & Partial<PlaceParams>,
    kind: Exclude<Question["kind"], "measure">,
    token: CancellationToken,
  ): Promise<Answer> {
    const { uri, position, patienceMs = Number.POSITIVE_INFINITY, isMixed = false } = params;
    const problem = this.problemOf(uri) ?? (kind === "read" && this.isEmpty(uri) ? emptySentence : null);
    if (problem !== null) return { problem };
    const looked = this.lookAt(uri);
    looked.questions++;
    this.tell(uri);
    try {
      const question: Question =
        kind === "read" ? { kind, uri, patienceMs, isMixed } : { kind, uri, position: position! };
      return await this.question(question, token, () => this.tell(uri));
    } finally {
      const leave = () => {
        looked.questions--;
        this.closeUnneeded(uri);
      };
      setTimeout(leave, this.options.lingerMs ?? DEFAULT_LINGER_MS).unref();
    }
  }

  /** Answers a question when the model is loaded. */
  async question(question: Question, token: CancellationToken, prepare: () => boolean = () => true): Promise<Answer> {
    const { host } = this.options;
    if (host.state.kind === "problem") return { problem: host.state.sentence };
    if (!this.options.isEnabled()) return { problem: disabledSentence };
    const id = this.nextId++;
    const tell = () => prepare() && host.tell({ type: "ask", id, question });
    const answered = new Promise<Answer>((resolve) => {
      this.waiting.set(id, { resolve, tell, isTold: tell() });
    });
    host.wake();
    const cancelled = token.onCancellationRequested(() => {
      host.tell({ type: "withdraw", id });
      this.resolve(id, { problem: "The request was taken back." });
    });
    try {
      return await answered;
    } finally {
      cancelled.dispose();
    }
  }

  private resolve(id: number, answer: Answer): void {
    const question = this.waiting.get(id);
    this.waiting.delete(id);
    question?.resolve(answer);
  }

  private lookAt(uri: string): Looked {
    const looked = this.looked.get(uri) ?? { ranges: [], isMixed: false, isTold: false, questions: 0 };
    this.looked.set(uri, looked);
    return looked;
  }

  /** Hands a text and what is in view of it to the model's thread; false when there is none. */
  private tell(uri: string): boolean {
    const looked = this.looked.get(uri);
    const text = this.options.documents.get(uri)?.text;
    if (looked === undefined || !text) return false;
    const { host } = this.options;
    if (!looked.isTold)
      looked.isTold = host.tell({ type: "openText", uri, text: text.getText(), version: text.version });
    if (looked.isTold) host.tell(watchOf(uri, looked));
    else host.wake();
    return looked.isTold;
  }

  private closeUnneeded(uri: string): void {
    const looked = this.looked.get(uri);
    if (looked !== undefined && looked.ranges.length === 0 && looked.questions === 0) this.forget(uri);
    else if (looked?.isTold) this.options.host.tell(watchOf(uri, looked));
  }

  private forget(uri: string): void {
    const looked = this.looked.get(uri);
    this.looked.delete(uri);
    if (looked?.isTold) this.options.host.tell({ type: "closeText", uri });
  }

  private isEmpty(uri: string): boolean {
    return this.options.documents.get(uri)?.text?.getText() === "";
  }

  /** Why a document cannot be shown; null when it can. */
  private problemOf(uri: string): string | null {
    if (!this.options.isEnabled()) return disabledSentence;
    const document = this.options.documents.get(uri);
    if (document === undefined)
      return "This document is not open in the editor, or is of a kind that the model does not read.";
    if (document.text === null)
      return `This file is too large for the overlay and the explorer, which read up to ${MAX_DOCUMENT_LENGTH.toLocaleString("en")} characters.`;
    if (document.text.getText().includes("\0"))
      return "This is a binary file (it has zero bytes): there is no text to cut into patches.";
    return null;
  }

  private sayState(uri: string): void {
    const { state } = this.options.host;
    const problem =
      state.kind === "problem" ? state.sentence : state.kind === "loading" ? loadingSentence(state.fraction) : null;
    this.say({ uri, problem, surprising: null });
  }

  private say(state: ReadingState): void {
    this.options.notify(READING_NOTIFICATION, state);
  }
}

function watchOf(uri: string, { ranges, isMixed }: Looked) {
  return { type: "watchText", uri, ranges, isMixed } as const;
}

const emptySentence = "The file is empty: there is nothing to cut.";
const disabledSentence = "BLT is switched off (setting blt.enable), so no model is loaded.";

function loadingSentence(fraction: number): string {
  return `The model is still loading (${Math.round(100 * fraction)} %); what it says comes then.`;
}

/** Only what a message to a thread can carry. */
function plainChange(change: TextDocumentContentChangeEvent): TextDocumentContentChangeEvent {
  return "range" in change ? { range: change.range, text: change.text } : { text: change.text };
}
