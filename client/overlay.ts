/** The entropy overlay: watches which lines are in view, keeps what the server says of them, and draws it. */
import * as vscode from "vscode";
import {
  LINES_NOTIFICATION,
  type LinesParams,
  READING_NOTIFICATION,
  type ReadingState,
  WATCH_NOTIFICATION,
} from "../server/overlay-protocol";
import type { LanguageServer } from "./language-server";
import {
  type DecorationKind,
  type Decorations,
  decorationKinds,
  decorationsOf,
  type OverlayViewName,
} from "./overlay-decorations";
import { OverlayItem } from "./overlay-item";
import { lineChange, OverlayLines, placeNow } from "./overlay-lines";
import { createDecorationTypes, createSurpriseType } from "./overlay-types";
import { readSettings } from "./settings";

/** Lines beyond the view that are read too, so that scrolling a little finds them. */
const MARGIN = 20;
/** Pause in scrolling before the server is told. */
const SCROLL_PAUSE_MS = 30;

interface Shown {
  lines: OverlayLines;
  /** Lines in the overview ruler. */
  surprising: number[];
  problem: string | null;
}

export class EntropyOverlay implements vscode.Disposable {
  private readonly documents = new Map<string, Shown>();
  private readonly item = new OverlayItem();
  private readonly subscriptions: vscode.Disposable[] = [];
  private types: Record<DecorationKind, vscode.TextEditorDecorationType> | null = null;
  private surprise: vscode.TextEditorDecorationType | null = null;
  /** What was drawn last in an editor, as text, so that only what changes is sent to it. */
  private readonly drawn = new WeakMap<vscode.TextEditor, Map<DecorationKind, string>>();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly server: LanguageServer,
    private readonly store: vscode.Memento,
  ) {
    server.onNotification(LINES_NOTIFICATION, (params: LinesParams) => this.take(params));
    server.onNotification(READING_NOTIFICATION, (state: ReadingState) => this.tell(state));
    this.subscriptions.push(
      server.onStarted(() => this.watchAll()),
      vscode.window.onDidChangeVisibleTextEditors(() => this.watchAll()),
      vscode.window.onDidChangeTextEditorVisibleRanges(() => this.watchSoon()),
      vscode.window.onDidChangeActiveTextEditor(() => this.showState()),
      vscode.workspace.onDidChangeTextDocument((event) => this.edited(event)),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => void this.documents.delete(uri.toString())),
    );
  }

  get isOn(): boolean {
    return this.types !== null;
  }

  get view(): OverlayViewName {
    return this.store.get<OverlayViewName>(VIEW_KEY, "both");
  }

  toggle(): void {
    if (this.isOn) this.hide();
    else this.show();
  }

  /** Shows this view, now and the next time. */
  async choose(view: OverlayViewName): Promise<void> {
    await this.store.update(VIEW_KEY, view);
    if (!this.isOn) return this.show();
    this.watchAll();
    this.showState();
  }

  dispose(): void {
    this.hide();
    this.item.dispose();
    for (const each of this.subscriptions) each.dispose();
  }

  private show(): void {
    this.types = createDecorationTypes();
    this.surprise = createSurpriseType();
    this.watchAll();
    this.showState();
  }

  private hide(): void {
    clearTimeout(this.timer);
    for (const uri of this.documents.keys()) void this.server.notify(WATCH_NOTIFICATION, { uri, ranges: [] });
    this.documents.clear();
    // Disposing a type takes its decorations away.
    for (const type of Object.values(this.types ?? {})) type.dispose();
    this.surprise?.dispose();
    this.types = null;
    this.surprise = null;
    for (const editor of vscode.window.visibleTextEditors) this.drawn.delete(editor);
    this.item.hide();
  }

  private watchSoon(): void {
    if (!this.isOn) return;
    clearTimeout(this.timer);
    // What is known already is drawn at once; what is not comes from the server.
    for (const editor of vscode.window.visibleTextEditors) this.draw(editor);
    this.timer = setTimeout(() => this.watchAll(), SCROLL_PAUSE_MS);
  }

  /** Tells the server which lines of which documents are in view. */
  private watchAll(): void {
    if (!this.isOn) return;
    const seen = new Map<string, { from: number; to: number }[]>();
    for (const editor of vscode.window.visibleTextEditors) {
      const uri = editor.document.uri.toString();
      const ranges = editor.visibleRanges.map(({ start, end }) => ({
        from: Math.max(0, start.line - MARGIN),
        to: Math.min(editor.document.lineCount, end.line + 1 + MARGIN),
      }));
      seen.set(uri, [...(seen.get(uri) ?? []), ...ranges]);
    }
    for (const uri of this.documents.keys())
      if (!seen.has(uri)) {
        this.documents.delete(uri);
        void this.server.notify(WATCH_NOTIFICATION, { uri, ranges: [] });
      }
    for (const [uri, ranges] of seen) {
      if (!this.documents.has(uri))
        this.documents.set(uri, { lines: new OverlayLines(), surprising: [], problem: null });
      void this.server.notify(WATCH_NOTIFICATION, { uri, ranges, isMixed: this.view === "mixed" });
    }
    for (const editor of vscode.window.visibleTextEditors) this.draw(editor);
  }

  private edited({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const shown = this.documents.get(document.uri.toString());
    if (shown === undefined || contentChanges.length === 0) return;
    const changes = contentChanges.map(lineChange);
    shown.lines.edited(document.version, changes);
    shown.surprising = shown.surprising.map((line) => placeNow(line, changes) ?? -1).filter((line) => line >= 0);
  }

  private take(params: LinesParams): void {
    if (!this.documents.get(params.uri)?.lines.take(params)) return;
    for (const editor of this.editorsOf(params.uri)) this.draw(editor);
  }

  private tell({ uri, problem, surprising }: ReadingState): void {
    const shown = this.documents.get(uri);
    if (shown === undefined) return;
    shown.problem = problem;
    if (problem !== null) shown.lines.clear();
    if (surprising !== null) shown.surprising = surprising.lines;
    for (const editor of this.editorsOf(uri)) {
      if (problem !== null) this.draw(editor);
      this.drawSurprise(editor, shown);
    }
    this.showState();
  }

  private editorsOf(uri: string): vscode.TextEditor[] {
    return vscode.window.visibleTextEditors.filter(({ document }) => document.uri.toString() === uri);
  }

  private draw(editor: vscode.TextEditor): void {
    const shown = this.documents.get(editor.document.uri.toString());
    if (this.types === null || shown === undefined) return;
    const decorations = decorationsOf(linesInView(editor, shown.lines), this.view);
    const before = this.drawn.get(editor) ?? new Map<DecorationKind, string>();
    this.drawn.set(editor, before);
    for (const kind of decorationKinds) this.drawKind(editor, kind, decorations, before);
  }

  private drawKind(
    editor: vscode.TextEditor,
    kind: DecorationKind,
    decorations: Decorations,
    before: Map<DecorationKind, string>,
  ) {
    const ranges = decorations[kind];
    // An edit moves what was drawn, so that the same ranges are other places in another version.
    const text = `${editor.document.version} ${ranges.map(({ line, from, to }) => `${line}:${from}:${to}`).join()}`;
    if (before.get(kind) === text) return;
    before.set(kind, text);
    editor.setDecorations(
      this.types![kind],
      ranges.map(({ line, from, to }) => new vscode.Range(line, from, line, to)),
    );
  }

  private drawSurprise(editor: vscode.TextEditor, { surprising }: Shown): void {
    if (this.surprise === null) return;
    const ranges = surprising.map((line) => new vscode.Range(line, 0, line, 0));
    editor.setDecorations(this.surprise, ranges);
  }

  /** The status bar says what is shown in the active editor, or why nothing is. */
  private showState(): void {
    if (!this.isOn) return;
    const uri = vscode.window.activeTextEditor?.document.uri.toString();
    const problem = uri === undefined ? null : (this.documents.get(uri)?.problem ?? null);
    this.item.show(this.view, problem, readSettings().workspace);
  }
}

const VIEW_KEY = "overlayView";

function* linesInView(editor: vscode.TextEditor, lines: OverlayLines) {
  for (const { start, end } of editor.visibleRanges)
    for (
      let line = Math.max(0, start.line - MARGIN);
      line <= Math.min(editor.document.lineCount - 1, end.line + MARGIN);
      line++
    ) {
      const view = lines.at(line);
      if (view !== undefined) yield { line, view, text: editor.document.lineAt(line).text };
    }
}
