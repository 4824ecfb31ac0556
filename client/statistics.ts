/** Statistics of the file or the workspace, as a page in the editor. */
import { basename, join } from "node:path";
import * as vscode from "vscode";
import { byteCount, escapeHtml } from "../model-runtime/display/html";
import { sortScript, statisticsBody } from "../model-runtime/display/statistics-page";
import { statisticsRules } from "../model-runtime/display/statistics-style";
import type { Statistics } from "../model-runtime/statistics/collect";
import {
  type Refused,
  STATISTICS_PROGRESS,
  STATISTICS_REQUEST,
  type StatisticsParams,
  type StatisticsProgress,
  type StatisticsResult,
} from "../server/overlay-protocol";
import type { LanguageServer } from "./language-server";
import { pageHtml, pageOptions } from "./webview";

/** What is measured: a document, or a folder. */
interface Subject {
  label: string;
  description: string;
  title: string;
  params: Pick<StatisticsParams, "uri" | "folder">;
  /** Address of one of its files. */
  uriOf(path: string): vscode.Uri;
}

let lastToken = 0;

export class StatisticsPages implements vscode.Disposable {
  private readonly listeners = new Map<string, (progress: StatisticsProgress) => void>();
  private readonly panels = new Set<vscode.WebviewPanel>();

  constructor(
    private readonly server: LanguageServer,
    private readonly extension: vscode.Uri,
  ) {
    server.onNotification(STATISTICS_PROGRESS, (progress: StatisticsProgress) =>
      this.listeners.get(progress.token)?.(progress),
    );
  }

  /** Asks what to measure, and shows it. */
  async choose(): Promise<void> {
    const subjects = subjectsNow();
    if (subjects.length === 0) {
      await vscode.window.showInformationMessage("BLT: Open a file or a folder first: there is nothing to measure.");
      return;
    }
    const chosen = await vscode.window.showQuickPick(subjects, {
      title: "BLT: Statistics",
      placeHolder: "What to measure",
    });
    if (chosen !== undefined) await this.measure(chosen);
  }

  dispose(): void {
    for (const panel of this.panels) panel.dispose();
  }

  private async measure(subject: Subject): Promise<void> {
    const token = String(++lastToken);
    const panel = this.createPanel(subject);
    const source = new vscode.CancellationTokenSource();
    panel.onDidDispose(() => source.cancel());
    const show = (statistics: Statistics, result: Partial<StatisticsResult>, notice: string | null) => {
      if (!source.token.isCancellationRequested || result.isPartial)
        this.fill(panel, subject, statistics, {
          model: result.model ?? "the model",
          skipped: result.skipped ?? [],
          notice,
        });
    };
    const result = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: `BLT: measuring ${subject.title}`, cancellable: true },
      async (report, cancelled) => {
        cancelled.onCancellationRequested(() => source.cancel());
        let done = 0;
        this.listeners.set(token, ({ files, ofFiles, bytes, ofBytes, statistics }) => {
          const share = ofBytes === 0 ? 100 : (100 * bytes) / ofBytes;
          report.report({ message: `${files} of ${ofFiles} files, ${byteCount(bytes)}`, increment: share - done });
          done = share;
          if (statistics !== null)
            show(statistics, {}, `Being measured: ${files} of ${ofFiles} files are in these figures.`);
        });
        const params: StatisticsParams = { ...subject.params, token };
        return this.server.request<StatisticsResult | Refused>(STATISTICS_REQUEST, params, source.token);
      },
    );
    this.listeners.delete(token);
    source.dispose();
    if (!this.panels.has(panel)) return;
    if (result === null || "problem" in result) {
      const sentence = result?.problem ?? "The measurement was ended before anything was known.";
      this.write(
        panel,
        subject,
        `<header><h1>${escapeHtml(subject.title)}</h1><p class="notice" role="alert">${escapeHtml(sentence)}</p></header>`,
      );
      return;
    }
    const notice = result.isPartial ? "Ended early: only the files measured until then are in these figures." : null;
    this.fill(panel, subject, result.statistics, { ...result, notice });
  }

  private createPanel(subject: Subject): vscode.WebviewPanel {
    const title = `Statistics: ${subject.title}`;
    const panel = vscode.window.createWebviewPanel(
      "blt.statistics",
      title,
      vscode.ViewColumn.Active,
      pageOptions(this.extension),
    );
    this.panels.add(panel);
    panel.iconPath = vscode.Uri.joinPath(this.extension, "media/icon.png");
    panel.onDidDispose(() => this.panels.delete(panel));
    panel.webview.onDidReceiveMessage(({ path, line }: { path: string; line: number | null }) => {
      const position = new vscode.Position(line ?? 0, 0);
      const selection = new vscode.Range(position, position);
      void vscode.window.showTextDocument(subject.uriOf(path), { selection, viewColumn: vscode.ViewColumn.Beside });
    });
    this.write(
      panel,
      subject,
      `<header><h1>${escapeHtml(subject.title)}</h1><p class="lead" role="status">Being measured…</p></header>`,
    );
    return panel;
  }

  private fill(
    panel: vscode.WebviewPanel,
    subject: Subject,
    statistics: Statistics,
    { model, skipped, notice }: Pick<StatisticsResult, "model" | "skipped"> & { notice: string | null },
  ): void {
    if (!this.panels.has(panel)) return;
    const link = (path: string, line: number | null) => `#${encodeURIComponent(JSON.stringify({ path, line }))}`;
    this.write(panel, subject, statisticsBody(statistics, { title: subject.title, model, skipped, notice, link }));
  }

  private write(panel: vscode.WebviewPanel, { title }: Subject, body: string): void {
    panel.webview.html = pageHtml(panel.webview, this.extension, {
      title: escapeHtml(title),
      body,
      style: null,
      script: null,
      inlineStyle: editorColours + statisticsRules,
      inlineScript: sortScript + linkScript,
    });
  }
}

/** Places are opened by the editor: a link's address is what it is to open. */
const linkScript = `
const vscode = acquireVsCodeApi();
document.addEventListener("click", (event) => {
  const address = event.target.closest("a")?.getAttribute("href");
  if (!address?.startsWith("#")) return;
  event.preventDefault();
  vscode.postMessage(JSON.parse(decodeURIComponent(address.slice(1))));
});
`;

/** The page's colours are the editor's. */
const editorColours = `
:root { --font: var(--vscode-font-family); --mono: var(--vscode-editor-font-family);
  --ground: var(--vscode-editor-background); --text: var(--vscode-editor-foreground);
  --muted: var(--vscode-descriptionForeground); --rule: var(--vscode-contrastBorder, var(--vscode-editorWidget-border, #80808055));
  --panel: var(--vscode-editorWidget-background); --accent: var(--vscode-charts-blue); --link: var(--vscode-textLink-foreground); --edge: transparent;
  ${[1, 2, 3, 4, 5, 6, 7].map((i) => `--e${i}: var(--vscode-blt-entropy${i}Background); --s${i}: color-mix(in srgb, var(--vscode-charts-orange) ${14 * i}%, var(--panel));`).join(" ")} }
body { font-size: var(--vscode-font-size); }
`;

function subjectsNow(): Subject[] {
  const subjects: Subject[] = [];
  const document = vscode.window.activeTextEditor?.document;
  if (document !== undefined) {
    const title = basename(document.uri.path);
    subjects.push({
      label: "$(file) This file",
      description: title,
      title,
      params: { uri: document.uri.toString() },
      uriOf: () => document.uri,
    });
  }
  for (const { uri, name } of vscode.workspace.workspaceFolders ?? [])
    if (uri.scheme === "file")
      subjects.push({
        label: "$(folder) All files of the folder",
        description: name,
        title: name,
        params: { folder: uri.fsPath },
        uriOf: (path) => vscode.Uri.file(join(uri.fsPath, path)),
      });
  return subjects;
}
