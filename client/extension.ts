/** Where VS Code enters: makes the parts, joins them, and registers the commands. */
import * as vscode from "vscode";
import { manageAdapters } from "./adapters";
import {
  openMenu,
  restartServer,
  selectModel,
  showLog,
  showWhy,
  toggle,
  toggleLanguage,
  triggerCompletion,
} from "./commands";
import { watchCursor } from "./cursor";
import { FineTuning } from "./finetune";
import { LanguageServer } from "./language-server";
import { createOverlayCommands } from "./overlay-commands";
import { createSkips } from "./skips";
import { StatusItem } from "./status-item";
import { isProblem, logLine } from "./status-view";

let server: LanguageServer | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("BLT Code", { log: true });
  const skips = createSkips();
  const status = new StatusItem(skips);
  let lastLine: string | null = null;
  const storage = { storageFolder: context.storageUri?.fsPath, sharedFolder: context.globalStorageUri.fsPath };
  server = new LanguageServer(context.asAbsolutePath("dist/server.js"), storage, log, skips, (state) => {
    status.show(state);
    const line = logLine(state);
    if (line === null || line === lastLine) return;
    lastLine = line;
    if (isProblem(state)) log.warn(line);
    else log.info(line);
  });
  const running = server;
  const overlay = createOverlayCommands(running, context);
  const fineTuning = new FineTuning(running, context.extensionUri);
  const command = (name: string, run: () => unknown) => vscode.commands.registerCommand(name, run);
  context.subscriptions.push(
    log,
    skips,
    status,
    watchCursor(() => void running.tellCursor()),
    command("blt.toggle", toggle),
    command("blt.toggleLanguage", toggleLanguage),
    command("blt.trigger", triggerCompletion),
    command("blt.showLog", () => showLog(log)),
    command("blt.showWhy", () => showWhy(running, skips)),
    command("blt.selectModel", () => selectModel(context, log)),
    command("blt.restartServer", () => restartServer(running)),
    command("blt.menu", openMenu),
    overlay,
    command("blt.toggleOverlay", overlay.toggle),
    command("blt.chooseOverlay", overlay.choose),
    command("blt.openExplorer", overlay.explore),
    command("blt.showStatistics", overlay.statistics),
    fineTuning,
    command("blt.fineTune", () => fineTuning.start()),
    command("blt.showFineTuning", () => fineTuning.show()),
    command("blt.manageAdapters", () => manageAdapters(running)),
  );
  await running.start();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
