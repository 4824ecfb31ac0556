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

/** Longest text kept, UTF-16 code units: up to here an edit takes the LSP thread less than 10 ms. */
export const MAX_DOCUMENT_LENGTH = 1_000_000;

export interface OpenDocument {
  readonly uri: string;
  readonly languageId: string;
  /** Null when the document is too large to be kept; it stays so until it is closed and opened again. */
  text: TextDocument | null;
  version: number;
  /** Where the model's context begins in the text (`context.ts`), UTF-16 code units; null when that is to be decided. */
  windowStart: number | null;
}

export class Documents {
  private readonly open = new Map<string, OpenDocument>();

  get(uri: string): OpenDocument | undefined {
    return this.open.get(uri);
  }

  didOpen({ textDocument: { uri, languageId, version, text } }: DidOpenTextDocumentParams): void {
    this.open.set(uri, {
      uri,
      languageId,
      text: text.length > MAX_DOCUMENT_LENGTH ? null : TextDocument.create(uri, languageId, version, text),
      version,
      windowStart: null,
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
    document.windowStart = movedBy(document.windowStart, start, end, change.text.length);
  } else {
    document.windowStart = null;
  }
  document.text = TextDocument.update(text, [change], version);
  if (document.text.getText().length > MAX_DOCUMENT_LENGTH) document.text = null;
}

/** Where `position` is after `start` to `end` was replaced by `length` code units; null when it was inside. */
function movedBy(position: number | null, start: number, end: number, length: number): number | null {
  if (position === null || position <= start) return position;
  return position >= end ? position + length - (end - start) : null;
}
