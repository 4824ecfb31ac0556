/**
 * The open documents as the editor describes them: text kept in step by incremental changes, and where an edit moves
 * what lies behind it. Positions are LSP's: lines and UTF-16 code units, beyond an end clamped to it.
 */
import type {
  DidChangeTextDocumentParams,
  DidOpenTextDocumentParams,
  TextDocumentContentChangeEvent,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";

/** Longest text kept, UTF-16 code units: a file of 1 MiB and what is typed there; up to here an edit takes the LSP thread less than 10 ms. */
export const MAX_DOCUMENT_LENGTH = 1_200_000;

/** What follows a place, as the model reads it before the last lines before the place. */
export interface Anchor {
  /** Where these lines begin in the document's text, UTF-16 code units. */
  near: number;
  following: string;
}

/** Where the model's context begins. */
export interface ContextWindow {
  /** In the document's text, UTF-16 code units. */
  start: number;
  /** What the model reads before that: parts of other files. */
  front: string;
  /** How many documents had been opened when `front` was chosen; 0 when it was not chosen yet. */
  openings: number;
  /** Null when it is to be chosen. */
  anchor: Anchor | null;
}

export interface OpenDocument {
  readonly uri: string;
  readonly languageId: string;
  /** Null when the document is too large to be kept; it stays so until it is closed and opened again. */
  text: TextDocument | null;
  version: number;
  /** What the model reads of it (`context.ts`); null when that is to be decided. */
  window: ContextWindow | null;
  /** The window that is read ahead, to take the other one's place when it has been read; else null. */
  nextWindow: ContextWindow | null;
}

export class Documents {
  private readonly open = new Map<string, OpenDocument>();
  /** How many documents have been opened since the start. */
  openings = 0;

  get(uri: string): OpenDocument | undefined {
    return this.open.get(uri);
  }

  /** The other documents, the one opened last first. */
  others(uri: string): OpenDocument[] {
    return [...this.open.values()].reverse().filter((document) => document.uri !== uri);
  }

  all(): OpenDocument[] {
    return [...this.open.values()];
  }

  didOpen({ textDocument: { uri, languageId, version, text } }: DidOpenTextDocumentParams): void {
    this.openings++;
    this.open.set(uri, {
      uri,
      languageId,
      text: text.length > MAX_DOCUMENT_LENGTH ? null : TextDocument.create(uri, languageId, version, text),
      version,
      window: null,
      nextWindow: null,
    });
  }

  /** Applies changes in their order; a document that is not open, or a change that is none, is an error. */
  didChange({ textDocument: { uri, version }, contentChanges }: DidChangeTextDocumentParams): OpenDocument {
    const document = this.open.get(uri);
    if (document === undefined) throw new Error(`${uri} was changed but never opened`);
    for (const change of contentChanges) applyChange(document, change, version);
    document.version = version;
    return document;
  }

  didClose(uri: string): void {
    this.open.delete(uri);
  }
}

function applyChange(document: OpenDocument, change: TextDocumentContentChangeEvent, version: number): void {
  const { text } = document;
  if (text === null) return;
  if ("range" in change) {
    const [start, end] = [text.offsetAt(change.range.start), text.offsetAt(change.range.end)].sort((a, b) => a - b);
    document.window = movedBy(document.window, start, end, change.text.length);
    document.nextWindow = movedBy(document.nextWindow, start, end, change.text.length);
  } else {
    document.window = null;
    document.nextWindow = null;
  }
  document.text = TextDocument.update(text, [change], version);
  if (document.text.getText().length > MAX_DOCUMENT_LENGTH) document.text = null;
}

/** Where a window is after `start` to `end` was replaced by `length` code units; null when it began inside. */
function movedBy(window: ContextWindow | null, start: number, end: number, length: number): ContextWindow | null {
  if (window === null || (window.start > start && window.start < end)) return null;
  const { anchor } = window;
  if (window.start <= start && (anchor === null || anchor.near <= start)) return window;
  const moved = (offset: number) => (offset <= start ? offset : offset + length - (end - start));
  const isAnchorHit = anchor !== null && anchor.near > start && anchor.near < end;
  const kept = anchor === null || isAnchorHit ? null : { ...anchor, near: moved(anchor.near) };
  return { ...window, start: moved(window.start), anchor: kept };
}
