/** The patch explorer: a page beside the editor that follows its text and its selection, and is followed by it. */
import { basename } from "node:path";
import * as vscode from "vscode";
import type { FromPage, Place, ToPage } from "../media/explorer/messages";
import page from "../media/explorer/page.html";
import {
  EXPLORE_REQUEST,
  EXPLORER_LIMIT,
  type ExploreParams,
  type Reading,
  type Refused,
  TOKENIZE_REQUEST,
  type Tokenized,
  type TokenizeParams,
} from "../server/overlay-protocol";
import { exportFile } from "./export-file";
import type { LanguageServer } from "./language-server";
import { pageHtml, pageOptions } from "./webview";

/** Pause after an edit before the page follows it. */
const EDIT_PAUSE_MS = 200;
/** How long the first answer may take, and each that follows with more of a text that is not read by then. */
const PATIENCE_MS = { first: 250, later: 2000 };
const TOKENIZER_KEY = "llama3Tokenizer";

export class PatchExplorer implements vscode.Disposable {
  private panel: vscode.WebviewPanel | null = null;
  /** The document that is shown. */
  private document: vscode.TextDocument | null = null;
  private isReady = false;
  /** Whether the page shows the entropies with the workspace's counts too. */
  private isMixed = false;
  private editTimer: NodeJS.Timeout | undefined;
  /** Of the last text that was asked for: what comes for an earlier one is late. */
  private generation = 0;
  /** Around what the page selected in the editor: the overlay's colours would hide a selection. */
  private readonly frame = vscode.window.createTextEditorDecorationType({
    border: "1px solid",
    borderColor: new vscode.ThemeColor("focusBorder"),
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly server: LanguageServer,
    private readonly context: Pick<vscode.ExtensionContext, "extensionUri" | "globalState">,
  ) {
    this.subscriptions = [
      server.onStarted(() => this.refresh()),
      vscode.window.onDidChangeActiveTextEditor((editor) => this.follow(editor)),
      vscode.window.onDidChangeTextEditorSelection(({ textEditor, kind }) => {
        // What the page selected itself has no kind.
        if (kind === undefined || textEditor.document !== this.document) return;
        textEditor.setDecorations(this.frame, []);
        this.sendSelection(textEditor);
      }),
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (document !== this.document || contentChanges.length === 0) return;
        clearTimeout(this.editTimer);
        this.editTimer = setTimeout(() => this.refresh(), EDIT_PAUSE_MS);
      }),
      vscode.workspace.onDidCloseTextDocument((document) => {
        if (document === this.document) this.generation++;
      }),
    ];
  }

  open(): void {
    const editor = vscode.window.activeTextEditor;
    if (editor !== undefined) this.document = editor.document;
    if (this.panel !== null) {
      this.panel.reveal(undefined, true);
      this.refresh();
      return;
    }
    const { extensionUri } = this.context;
    const panel = vscode.window.createWebviewPanel(
      "blt.explorer",
      "Patch explorer",
      { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true },
      pageOptions(extensionUri),
    );
    this.panel = panel;
    this.isReady = false;
    panel.iconPath = vscode.Uri.joinPath(extensionUri, "media/icon.png");
    panel.webview.onDidReceiveMessage((message: FromPage) => void this.receive(message));
    panel.onDidDispose(() => {
      this.panel = null;
      this.generation++;
      clearTimeout(this.editTimer);
      for (const editor of vscode.window.visibleTextEditors) editor.setDecorations(this.frame, []);
    });
    panel.webview.html = pageHtml(panel.webview, extensionUri, {
      title: "Patch explorer",
      body: page,
      style: "explorer.css",
      script: "explorer.js",
    });
  }

  dispose(): void {
    clearTimeout(this.editTimer);
    this.frame.dispose();
    for (const each of this.subscriptions) each.dispose();
    this.panel?.dispose();
  }

  private async receive(message: FromPage): Promise<void> {
    switch (message.type) {
      case "ready":
        this.isReady = true;
        this.isMixed = message.isMixed;
        return this.refresh();
      case "select":
        return this.select(message.from, message.to);
      case "export":
        return exportFile(message.format, message.data, this.document);
      case "chooseTokenizer":
        return this.chooseTokenizer();
      case "mix":
        this.isMixed = message.isMixed;
        return this.refresh();
    }
  }

  /** Another editor came to the front: the page shows its text. */
  private follow(editor: vscode.TextEditor | undefined): void {
    if (this.panel === null || editor === undefined || editor.document === this.document) return;
    this.document = editor.document;
    this.refresh();
  }

  private refresh(): void {
    if (this.isReady && this.panel !== null) void this.read();
  }

  private async read(): Promise<void> {
    const { document } = this;
    const generation = ++this.generation;
    if (document === null) {
      this.send({ type: "problem", name: "Patch explorer", sentence: "Open a file: its text is shown here." });
      return;
    }
    const name = basename(document.uri.path);
    const { version } = document;
    for (let patienceMs = PATIENCE_MS.first; ; patienceMs = PATIENCE_MS.later) {
      const params: ExploreParams = { uri: document.uri.toString(), patienceMs, isMixed: this.isMixed };
      const answer = await this.server.request<Reading | Refused>(EXPLORE_REQUEST, params);
      // After an edit meanwhile the text is asked for anew.
      if (generation !== this.generation || (document.version !== version && !document.isClosed)) return;
      if (answer === null || "problem" in answer) {
        const sentence = answer?.problem ?? "The completion server does not run; the log says why.";
        if (document.isClosed) this.document = null;
        this.send({ type: "problem", name, sentence });
        return;
      }
      this.send({ type: "reading", name, limit: EXPLORER_LIMIT, reading: answer });
      if (patienceMs === PATIENCE_MS.first) {
        const editor = vscode.window.visibleTextEditors.find((each) => each.document === document);
        if (editor !== undefined) this.sendSelection(editor);
        void this.tokenize(answer.text, generation);
      }
      if (answer.isComplete) return;
    }
  }

  private async tokenize(text: string, generation: number): Promise<void> {
    const tokenizerFile = this.context.globalState.get<string>(TOKENIZER_KEY) ?? null;
    const params: TokenizeParams = { text, tokenizerFile };
    const tokens = await this.server.request<Tokenized[]>(TOKENIZE_REQUEST, params);
    if (generation === this.generation && tokens !== null) this.send({ type: "tokens", tokens });
  }

  private sendSelection({ selection }: vscode.TextEditor): void {
    if (this.isReady) this.send({ type: "selection", from: placeOf(selection.start), to: placeOf(selection.end) });
  }

  private async select(from: Place, to: Place): Promise<void> {
    const { document } = this;
    if (document === null || document.isClosed) return;
    const range = new vscode.Range(from.line, from.character, to.line, to.character);
    const editor =
      vscode.window.visibleTextEditors.find((each) => each.document === document) ??
      (await vscode.window.showTextDocument(document, { viewColumn: vscode.ViewColumn.One, preserveFocus: true }));
    editor.selection = new vscode.Selection(range.start, range.end);
    editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
    editor.setDecorations(this.frame, [range]);
  }

  private async chooseTokenizer(): Promise<void> {
    const [file] =
      (await vscode.window.showOpenDialog({
        title: "tokenizer.json of Llama 3, or of another model",
        openLabel: "Use this tokenizer",
        canSelectMany: false,
        filters: { Tokenizer: ["json"] },
      })) ?? [];
    if (file === undefined) return;
    await this.context.globalState.update(TOKENIZER_KEY, file.fsPath);
    this.refresh();
  }

  private send(message: ToPage): void {
    void this.panel?.webview.postMessage(message);
  }
}

function placeOf({ line, character }: vscode.Position): Place {
  return { line, character };
}
