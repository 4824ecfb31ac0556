/**
 * Reads ahead while nobody waits for the model: the text before the cursor as soon as the cursor stands still, so that the
 * next request finds it read; and then a roomier window, with parts of other files, to take the small one's place. A
 * request or an edit interrupts it before the model's next run, and what was read stays in the caches.
 */
import { basename } from "node:path";
import type { Position } from "vscode-languageserver/node";
import type { CompletionMarks } from "../model-runtime/checkpoint/completion-marks";
import { passName } from "../model-runtime/workspace/text-rules";
import { type Context, contextAt, contextIn, isFarFromAnchor, roomierStart, textIn, windowLimit } from "./context";
import type { ContextWindow, Documents, OpenDocument } from "./documents";
import { refuseDocument, refusePlace } from "./gate";
import type { Job, ModelHost } from "./model-host";
import { bytesOf } from "./model-text";
import type { Settings } from "./protocol";
import { RelatedParts } from "./related";
import { isLanguageEnabled } from "./settings";

/** How long the cursor must stand still, ms. */
const PAUSE_MS = 150;
/** Share of the context that parts of other files may have; and how many files are looked at, those opened last. */
const [FRONT_SHARE, MOST_FILES] = [0.25, 8];
/** What is compared with other files: so much of the text before the cursor and after it, UTF-16 code units. */
const [QUERY_BEFORE, QUERY_AFTER] = [1000, 500];

export interface ReadAheadOptions {
  documents: Pick<Documents, "get" | "others" | "openings">;
  host: Pick<ModelHost, "read" | "state">;
  settings(): Settings;
  /** As in the completer's options. */
  marks?(): CompletionMarks | null;
  /** Whether the model has nothing to do for a request. */
  isIdle(): boolean;
  /** Whether more than what the next request needs is read; true when undefined. */
  mayWorkAhead?(): boolean;
  pauseMs?: number;
}

export class ReadAhead {
  private timer: NodeJS.Timeout | undefined;
  private job: Job | null = null;
  private readonly related = new RelatedParts();
  /** Counts interruptions: what was begun before the last one is not gone on with. */
  private turn = 0;

  constructor(private readonly options: ReadAheadOptions) {}

  /** The cursor stands there. */
  cursorAt(uri: string, position: Position): void {
    this.interrupt();
    this.timer = setTimeout(() => {
      if (this.options.isIdle()) void this.readAt(uri, position);
      else this.cursorAt(uri, position);
    }, this.options.pauseMs ?? PAUSE_MS).unref();
  }

  /** Something else is more urgent, or the text is about to change. */
  interrupt(): void {
    this.turn++;
    clearTimeout(this.timer);
    this.job?.abort();
    this.job = null;
  }

  private async readAt(uri: string, position: Position): Promise<void> {
    const settings = this.options.settings();
    const found = refuseDocument(this.options.documents.get(uri), settings);
    if (found.refusal !== null) return;
    const { document } = found;
    const text = document.text!;
    const offset = text.offsetAt(position);
    const cursor = { from: offset, to: offset, selected: "" };
    const context = contextAt(document, cursor, windowLimit(settings, this.options.host.state));
    if (refusePlace(context, true) !== null || !(await this.isRead(context))) return;
    if (!(this.options.mayWorkAhead?.() ?? true)) return;
    const next = await this.nextWindow(document, context, offset, settings);
    if (next === null) {
      if (isFarFromAnchor(context) && document.window !== null) {
        document.window.anchor = null;
        await this.isRead(contextIn(document, document.window, cursor));
      }
      return;
    }
    if (!(await this.isRead(contextIn(document, next, cursor))) || document.nextWindow !== next) return;
    document.window = next;
    document.nextWindow = null;
  }

  /** The window to read ahead, null when there is none; one that was begun goes on as long as it will do. */
  private async nextWindow(
    document: OpenDocument,
    context: Context,
    offset: number,
    settings: Settings,
  ): Promise<ContextWindow | null> {
    const { openings } = this.options.documents;
    const current = document.window!;
    const maxBytes = settings.contextBytes * (1 - FRONT_SHARE);
    const roomier = (start: number) => roomierStart(document.text!.getText(), offset, maxBytes, start);
    const start = roomier(current.start);
    if (start === null && current.openings === openings) return null;
    const begun = document.nextWindow;
    if (begun?.openings === openings && begun.start < offset && roomier(begun.start) === null) return begun;
    const { turn } = this;
    const front = await this.front(document, context, settings);
    if (turn !== this.turn) return null;
    if (start === null && front === current.front) {
      document.window = { ...current, openings };
      return null;
    }
    document.nextWindow = { start: start ?? current.start, front, openings, anchor: current.anchor };
    return document.nextWindow;
  }

  /** Parts of other open files; of none that is no source text, or a secret, or of a language that is switched off. */
  private front({ uri }: OpenDocument, { text, following }: Context, settings: Settings): Promise<string> {
    const others = this.options.documents
      .others(uri)
      .filter((other) => isLanguageEnabled(settings, other.languageId) && passName(nameOf(other.uri)) === null)
      .slice(0, MOST_FILES)
      .map((other) => ({ uri: other.uri, version: other.version, text: textIn(other, 0, Number.POSITIVE_INFINITY) }));
    const query = text.slice(-QUERY_BEFORE) + following.slice(0, QUERY_AFTER);
    return this.related.find(query, others, Math.floor(settings.contextBytes * FRONT_SHARE));
  }

  /** Whether the model could read it all. */
  private async isRead(context: Context): Promise<boolean> {
    const job = this.options.host.read(bytesOf(context, this.options.marks?.() ?? null));
    this.job = job;
    const { end } = await job.done;
    if (this.job === job) this.job = null;
    return end === "read";
  }
}

function nameOf(uri: string): string {
  return basename(uri.replace(/[?#].*$/, ""));
}
