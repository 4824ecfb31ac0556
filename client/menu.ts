/** The menu behind the status bar item. */

export interface MenuEntry {
  label: string;
  /** The command that the entry runs. */
  command: string;
  arguments?: unknown[];
}

export interface MenuState {
  enabled: boolean;
  /** Language id of the active editor and whether suggestions are on for it; null without an editor. */
  language: { id: string; enabled: boolean } | null;
}

export function menuEntries({ enabled, language }: MenuState): MenuEntry[] {
  const entries: MenuEntry[] = [
    enabled
      ? { label: "$(circle-slash) Turn suggestions off", command: "blt.toggle" }
      : { label: "$(check) Turn suggestions on", command: "blt.toggle" },
  ];
  if (enabled && language !== null)
    entries.push(
      language.enabled
        ? { label: `$(circle-slash) Turn suggestions off for ${language.id}`, command: "blt.toggleLanguage" }
        : { label: `$(check) Turn suggestions on for ${language.id}`, command: "blt.toggleLanguage" },
    );
  if (enabled && language?.enabled) entries.push({ label: "$(sparkle) Trigger completion", command: "blt.trigger" });
  const overlay = [
    { label: "$(symbol-color) Toggle entropy overlay", command: "blt.toggleOverlay" },
    { label: "$(graph-line) Open patch explorer", command: "blt.openExplorer" },
    { label: "$(graph) Show statistics…", command: "blt.showStatistics" },
  ];
  const learning = [
    { label: "$(mortar-board) Fine-tune on workspace…", command: "blt.fineTune" },
    { label: "$(layers) Manage adapters…", command: "blt.manageAdapters" },
  ];
  entries.push(
    { label: "$(question) Show why nothing was suggested", command: "blt.showWhy" },
    ...(enabled ? [...overlay, ...learning] : []),
    { label: "$(package) Select model…", command: "blt.selectModel" },
    { label: "$(gear) Settings", command: "workbench.action.openSettings", arguments: ["@ext:blt-code.blt-code"] },
    { label: "$(output) Show log", command: "blt.showLog" },
    { label: "$(debug-restart) Restart server", command: "blt.restartServer" },
  );
  return entries;
}
