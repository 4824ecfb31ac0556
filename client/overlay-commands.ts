/** The commands of overlay, explorer and statistics. */
import * as vscode from "vscode";
import { PatchExplorer } from "./explorer";
import type { LanguageServer } from "./language-server";
import { EntropyOverlay } from "./overlay";
import { type OverlayViewName, overlayViews } from "./overlay-decorations";
import { registerHovers } from "./overlay-hover";
import { viewLabels } from "./overlay-item";
import { StatisticsPages } from "./statistics";

export interface OverlayCommands extends vscode.Disposable {
  toggle(): void;
  choose(): Promise<void>;
  explore(): void;
  statistics(): Promise<void>;
}

export function createOverlayCommands(server: LanguageServer, context: vscode.ExtensionContext): OverlayCommands {
  const overlay = new EntropyOverlay(server, context.globalState);
  const explorer = new PatchExplorer(server, context);
  const statistics = new StatisticsPages(server, context.extensionUri);
  const hovers = registerHovers(server, () => overlay.isOn);
  return {
    toggle: () => overlay.toggle(),
    choose: () => chooseView(overlay),
    explore: () => explorer.open(),
    statistics: () => statistics.choose(),
    dispose: () => vscode.Disposable.from(overlay, explorer, statistics, hovers).dispose(),
  };
}

/** Lets the user choose what the overlay shows, or turn it off; who came by the status bar goes on typing. */
async function chooseView(overlay: EntropyOverlay): Promise<void> {
  const entries = overlayViews.map((view) => ({
    ...viewLabels[view],
    description: overlay.isOn && view === overlay.view ? "shown now" : "",
    view: view as OverlayViewName | null,
  }));
  if (overlay.isOn) entries.push({ label: "Off", detail: "Show nothing in the editor", description: "", view: null });
  const chosen = await vscode.window.showQuickPick(entries, { title: "BLT: What the overlay shows" });
  if (chosen === undefined) return;
  if (chosen.view === null) overlay.toggle();
  else await overlay.choose(chosen.view);
  await vscode.commands.executeCommand("workbench.action.focusActiveEditorGroup");
}
