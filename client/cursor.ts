/** Notices that the cursor stands still somewhere else, in the same editor or in another one. */
import * as vscode from "vscode";

/** How long it must stand still, ms: keys come faster. */
const STILL_MS = 100;

export function watchCursor(onStill: () => void): vscode.Disposable {
  let timer: NodeJS.Timeout | undefined;
  const moved = () => {
    clearTimeout(timer);
    timer = setTimeout(onStill, STILL_MS);
  };
  return vscode.Disposable.from(
    vscode.window.onDidChangeActiveTextEditor(moved),
    vscode.window.onDidChangeTextEditorSelection(moved),
    new vscode.Disposable(() => clearTimeout(timer)),
  );
}
