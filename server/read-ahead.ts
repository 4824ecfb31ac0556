/**
 * Reads ahead while nobody waits for the model: the text before the cursor as soon as the cursor stands still, so that the
 * next request finds it read; and then a roomier window, with parts of other files, to take the small one's place. A
 * request or an edit interrupts it before the model's next run, and what was read stays in the caches.
 */
import type { Position } from "vscode-languageserver/node";
import { bytesOf, contextAt, roomierStart, textIn } from "./context";
import type { ContextWindow, Documents, OpenDocument } from "./documents";
import { refuseDocument, refusePlace } from "./gate";
import type { Job, ModelHost } from "./model-host";
import type { Settings } from "./protocol";

/** How long the cursor must stand still, ms. */
const PAUSE_MS = 150;

export interface ReadAheadOptions {
  documents: Pick<Documents, "get">;
  host: Pick<ModelHost, "read">;
  settings(): Settings;
  /** Whether the model has nothing to do for a request. */
  isIdle(): boolean;
  pauseMs?: number;
}

export class ReadAhead {
  private timer: NodeJS.Timeout | undefined;
  private job: Job | null = null;

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
    const context = contextAt(document, { from: offset, to: offset, selected: "" }, settings.contextBytes);
    if (refusePlace(context, true) !== null || !(await this.isRead(bytesOf(context)))) return;
    const next = this.nextWindow(document, offset, settings.contextBytes);
    if (next === null) return;
    const read = await this.isRead(bytesOf({ front: next.front, text: textIn(document, next.start, offset) }));
    if (!read || document.nextWindow !== next) return;
    document.window = next;
    document.nextWindow = null;
  }

  /** The window to read ahead; one that was begun goes on as long as it will do. */
  private nextWindow(document: OpenDocument, offset: number, maxBytes: number): ContextWindow | null {
    const text = document.text!.getText();
    const start = roomierStart(text, offset, maxBytes, document.window!.start);
    if (start === null) return null;
    const begun = document.nextWindow;
    const willDo = begun !== null && begun.start < offset && roomierStart(text, offset, maxBytes, begun.start) === null;
    if (!willDo) document.nextWindow = { start, front: "" };
    return document.nextWindow;
  }

  /** Whether the model could read it all. */
  private async isRead(context: Uint8Array): Promise<boolean> {
    const job = this.options.host.read(context);
    this.job = job;
    const { end } = await job.done;
    if (this.job === job) this.job = null;
    return end === "read";
  }
}
