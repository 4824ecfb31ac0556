/** Fine-tuning in the editor: the run as the server tells it, in the status bar, a notification and a page. */
import * as vscode from "vscode";
import { aboutRunning } from "../media/fine-tuning/about";
import {
  ADAPTER_ACTION_REQUEST,
  type AdapterAction,
  CONTROL_REQUEST,
  type ControlParams,
  type Refused,
  RUN_NOTIFICATION,
  RUN_REQUEST,
  type RunState,
  START_REQUEST,
  type StartParams,
} from "../server/finetune-protocol";
import { chooseRun } from "./finetune-choice";
import { FineTunePage } from "./finetune-page";
import { doneMessage, runItem, shareOf } from "./finetune-text";
import type { LanguageServer } from "./language-server";

export class FineTuning implements vscode.Disposable {
  private state: RunState = { kind: "none" };
  private readonly item = vscode.window.createStatusBarItem("blt.fineTuning", vscode.StatusBarAlignment.Right, 99);
  private readonly page: FineTunePage;
  private readonly changed = new vscode.EventEmitter<RunState>();
  private isNotified = false;

  constructor(
    private readonly server: LanguageServer,
    extension: vscode.Uri,
  ) {
    this.item.name = "BLT Code: fine-tuning";
    this.item.command = "blt.showFineTuning";
    this.page = new FineTunePage(
      extension,
      () => this.state,
      (message) => {
        if (message.type === "control") void this.control(message.action);
        else if (message.type === "start") void this.start();
        else void vscode.commands.executeCommand("blt.manageAdapters");
      },
    );
    server.onNotification(RUN_NOTIFICATION, (state: RunState) => this.receive(state));
    server.onStarted(() => void this.ask());
  }

  /** Lets the user choose what to learn from and for how long, and begins. */
  async start(): Promise<void> {
    if (!(await isTrusted())) return;
    if (this.state.kind === "running") {
      this.page.open();
      return;
    }
    if (this.state.kind === "unfinished" && !(await this.offerUnfinished())) return;
    const params = await chooseRun(this.server);
    if (params === null) return;
    const refused = await this.server.request<Refused | null>(START_REQUEST, params satisfies StartParams);
    if (refused !== null) await vscode.window.showErrorMessage(`BLT: ${refused.problem}`);
  }

  show(): void {
    this.page.open();
  }

  dispose(): void {
    vscode.Disposable.from(this.item, this.page, this.changed).dispose();
  }

  /** A server has begun to run: what was cut off with the one before it can go on. */
  private async ask(): Promise<void> {
    const state = await this.server.request<RunState | Refused>(RUN_REQUEST, {});
    if (state === null || "problem" in state) return;
    this.receive(state);
    if (state.kind === "unfinished" && vscode.workspace.isTrusted) await this.offerUnfinished();
  }

  private receive(state: RunState): void {
    const before = this.state.kind;
    this.state = state;
    const item = runItem(state);
    if (item === null) this.item.hide();
    else {
      Object.assign(this.item, item);
      this.item.show();
    }
    this.page.show(state);
    this.changed.fire(state);
    if (state.kind === "running" && !this.isNotified) void this.notify();
    if (before === "running" && state.kind === "done")
      void this.tellDone(doneMessage(state.summary), state.summary.adapter);
    if (before === "running" && state.kind === "failed") void this.tellFailed(state.sentence);
  }

  /** The notification that goes with a run. */
  private async notify(): Promise<void> {
    this.isNotified = true;
    const options = {
      location: vscode.ProgressLocation.Notification,
      title: "BLT: fine-tuning on this workspace",
      cancellable: true,
    };
    await vscode.window.withProgress(options, async (progress, cancelled) => {
      cancelled.onCancellationRequested(() => void this.cancel());
      let shown = 0;
      await new Promise<void>((resolve) => {
        const show = (state: RunState) => {
          if (state.kind !== "running") {
            listener.dispose();
            resolve();
            return;
          }
          const share = shareOf(state);
          progress.report({ message: aboutRunning(state), increment: Math.max(0, share - shown) });
          shown = Math.max(shown, share);
        };
        const listener = this.changed.event(show);
        show(this.state);
      });
    });
    this.isNotified = false;
    // Cancelling closes the notification; a run that goes on all the same has one again.
    if (this.state.kind === "running") void this.notify();
  }

  private async control(action: ControlParams["action"]): Promise<void> {
    if (action === "cancel") return this.cancel();
    await this.send(action);
  }

  /** Cancels at once, or asks whether what was learned already is to be thrown away. */
  private async cancel(): Promise<void> {
    const { state } = this;
    if (state.kind === "running" && state.phase === "training" && state.progress !== null) {
      const choices = ["Discard it", "Judge it now"] as const;
      const message = "BLT: What was learned until now would be lost.";
      const chosen = await vscode.window.showWarningMessage(message, ...choices, "Go on");
      if (chosen === "Judge it now") await this.send("finish");
      if (chosen !== "Discard it") return;
    }
    await this.send("cancel");
  }

  private async send(action: ControlParams["action"]): Promise<void> {
    const refused = await this.server.request<Refused | null>(CONTROL_REQUEST, { action } satisfies ControlParams);
    if (refused !== null) await vscode.window.showErrorMessage(`BLT: ${refused.problem}`);
  }

  /** Whether a new run may begin: what was cut off neither goes on nor is kept. */
  private async offerUnfinished(): Promise<boolean> {
    if (this.state.kind !== "unfinished") return true;
    const { step } = this.state;
    const message = `BLT: Fine-tuning on this workspace was cut off after step ${step}.`;
    const chosen = await vscode.window.showInformationMessage(message, "Go on", "Discard it");
    if (chosen === "Go on") await this.send("resume");
    if (chosen !== "Discard it") return false;
    await this.send("cancel");
    return true;
  }

  private async tellDone(message: string, adapter: string | null): Promise<void> {
    const chosen = await vscode.window.showInformationMessage(
      message,
      "Show what was measured",
      ...(adapter === null ? [] : ["Do without it", "Adapters…"]),
    );
    if (chosen === "Show what was measured") this.page.open();
    if (chosen === "Do without it")
      await this.server.request(ADAPTER_ACTION_REQUEST, { action: "use", id: null } satisfies AdapterAction);
    if (chosen === "Adapters…") await vscode.commands.executeCommand("blt.manageAdapters");
  }

  private async tellFailed(sentence: string): Promise<void> {
    const chosen = await vscode.window.showErrorMessage(`BLT: ${sentence}`, "Show log");
    if (chosen === "Show log") await vscode.commands.executeCommand("blt.showLog");
  }
}

/** Learning is for folders that the user trusts; says so in others. */
async function isTrusted(): Promise<boolean> {
  if (vscode.workspace.isTrusted) return true;
  const chosen = await vscode.window.showWarningMessage(
    "BLT: Nothing is learned from a folder in restricted mode; trust it first.",
    "Manage trust",
  );
  if (chosen !== undefined) await vscode.commands.executeCommand("workbench.trust.manage");
  return vscode.workspace.isTrusted;
}
