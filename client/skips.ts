/** Watches the editor, and keeps the automatic requests that were not sent, so that "why not" can name them too. */
import * as vscode from "vscode";
import type { Moment } from "./decisions";
import { type ChangeKind, changeKind, reasonForQuiet } from "./quiet";

/** How many are kept; the server keeps its own decisions. */
const capacity = 20;

export interface Skips extends vscode.Disposable {
  /** True, and recorded, when an automatic request at `position` is not worth sending. */
  skip(document: vscode.TextDocument, position: vscode.Position): boolean;
  /** Those not sent, newest first. */
  list(): readonly Moment[];
  /** One more was not sent. */
  readonly onSkipped: vscode.Event<void>;
}

export function createSkips(): Skips {
  const skipped: Moment[] = [];
  const added = new vscode.EventEmitter<void>();
  const lastChange = new WeakMap<vscode.TextDocument, ChangeKind>();
  const listener = vscode.workspace.onDidChangeTextDocument(({ document, contentChanges, reason }) => {
    const kind = changeKind(contentChanges, reason !== undefined);
    if (kind !== null) lastChange.set(document, kind);
  });
  return {
    skip(document, position) {
      const editor = vscode.window.activeTextEditor;
      const selections = editor?.document === document ? editor.selections : [];
      const sentence = reasonForQuiet({
        cursors: selections.length,
        hasSelection: selections.some((selection) => !selection.isEmpty),
        lastChange: lastChange.get(document) ?? null,
      });
      if (sentence === null) return false;
      const { line, character } = position;
      skipped.unshift({
        uri: document.uri.toString(),
        line,
        character,
        time: Date.now(),
        ms: 0,
        sentence,
        shown: false,
      });
      skipped.length = Math.min(skipped.length, capacity);
      added.fire();
      return true;
    },
    list: () => skipped,
    onSkipped: added.event,
    dispose: () => vscode.Disposable.from(listener, added).dispose(),
  };
}
