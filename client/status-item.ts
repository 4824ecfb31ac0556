/** The item in the status bar. */
import * as vscode from "vscode";
import { activeLanguage } from "./settings";
import type { Skips } from "./skips";
import { type ServerState, statusView } from "./status-view";

/** A suggestion that is computed faster than this does not make the item flicker, ms. */
const workingShownAfterMs = 250;

export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("blt.status", vscode.StatusBarAlignment.Right, 100);
  private readonly listeners: vscode.Disposable;
  private state: ServerState = { kind: "starting" };
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly skips: Pick<Skips, "list" | "onSkipped">) {
    this.item.name = "BLT Code";
    this.item.command = "blt.menu";
    this.listeners = vscode.Disposable.from(
      vscode.window.onDidChangeActiveTextEditor(() => this.draw()),
      skips.onSkipped(() => this.draw()),
      vscode.workspace.onDidOpenTextDocument(() => this.draw()),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration("blt")) this.draw();
      }),
    );
    this.draw();
    this.item.show();
  }

  show(state: ServerState): void {
    this.state = state;
    clearTimeout(this.timer);
    if (state.kind === "running" && state.status.state.kind === "working")
      this.timer = setTimeout(() => this.draw(), workingShownAfterMs);
    else this.draw();
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listeners.dispose();
    this.item.dispose();
  }

  private draw(): void {
    const language = activeLanguage();
    const off = language === null || language.enabled ? null : language.id;
    const view = statusView(this.state, off, this.skips.list()[0] ?? null);
    this.item.text = view.text;
    this.item.tooltip = ["BLT Code", ...view.lines, "Click for the menu."].join("\n");
    this.item.backgroundColor =
      view.severity === "normal" ? undefined : new vscode.ThemeColor(`statusBarItem.${view.severity}Background`);
    this.item.accessibilityInformation = { label: `BLT Code: ${view.lines.join(" ")}`, role: "button" };
  }
}
