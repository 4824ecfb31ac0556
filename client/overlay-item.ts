/** The overlay's item in the status bar, there while the overlay is on. */
import * as vscode from "vscode";
import type { OverlayViewName } from "./overlay-decorations";

/** What people read for each view. */
export const viewLabels: Readonly<Record<OverlayViewName, { label: string; detail: string }>> = {
  patches: { label: "Patches", detail: "A colour for each patch, and a line where each starts" },
  entropy: { label: "Entropy", detail: "How unsure the entropy model was before each byte: the stronger, the more" },
  both: { label: "Patches and entropy", detail: "The colours of entropy, and a line where each patch starts" },
  mixed: {
    label: "Entropy with the workspace",
    detail: "How unsure the entropy model was when mixed with the counts of your other files",
  },
};

const uncountedSentence = "Entropy of the model alone, as the workspace is not counted (setting blt.workspace is off)";

export class OverlayItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("blt.overlay", vscode.StatusBarAlignment.Right, 99);

  constructor() {
    this.item.name = "BLT overlay";
    this.item.command = "blt.chooseOverlay";
  }

  /** `problem`: why there is nothing to show; null when there is. `isCounted`: whether the workspace's files are counted. */
  show(view: OverlayViewName, problem: string | null, isCounted: boolean): void {
    const { label } = viewLabels[view];
    const detail = view === "mixed" && !isCounted ? uncountedSentence : viewLabels[view].detail;
    this.item.text = problem === null ? `$(symbol-color) ${label}` : `$(info) ${label}`;
    this.item.tooltip = problem ?? `BLT overlay: ${detail}. Click to choose.`;
    this.item.accessibilityInformation = { label: `BLT overlay, ${label}. ${problem ?? detail}`, role: "button" };
    this.item.show();
  }

  hide(): void {
    this.item.hide();
  }

  dispose(): void {
    this.item.dispose();
  }
}
