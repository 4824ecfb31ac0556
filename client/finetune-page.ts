/** The page of fine-tuning, with the live curve. */
import * as vscode from "vscode";
import type { FromPage, ToPage } from "../media/fine-tuning/messages";
import page from "../media/fine-tuning/page.html";
import type { RunState } from "../server/finetune-protocol";
import { pageHtml, pageOptions } from "./webview";

export class FineTunePage implements vscode.Disposable {
  private panel: vscode.WebviewPanel | null = null;

  /** @param receive told what is clicked in the page */
  constructor(
    private readonly extension: vscode.Uri,
    private readonly state: () => RunState,
    private readonly receive: (message: Exclude<FromPage, { type: "ready" }>) => void,
  ) {}

  open(): void {
    if (this.panel !== null) {
      this.panel.reveal();
      return;
    }
    const panel = vscode.window.createWebviewPanel(
      "blt.fineTuning",
      "Fine-tuning",
      vscode.ViewColumn.Active,
      pageOptions(this.extension),
    );
    this.panel = panel;
    panel.iconPath = vscode.Uri.joinPath(this.extension, "media/icon.png");
    panel.onDidDispose(() => {
      this.panel = null;
    });
    panel.webview.onDidReceiveMessage((message: FromPage) => {
      if (message.type === "ready") this.show(this.state());
      else this.receive(message);
    });
    panel.webview.html = pageHtml(panel.webview, this.extension, {
      title: "Fine-tuning",
      body: page,
      style: "fine-tuning.css",
      script: "fine-tuning.js",
    });
  }

  show(state: RunState): void {
    const message: ToPage = { type: "state", state };
    void this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.panel?.dispose();
  }
}
