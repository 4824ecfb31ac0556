/** The settings as the client reads and writes them; the server reads them for itself. */
import * as vscode from "vscode";
import { SETTINGS_SECTION, type Settings } from "../server/protocol";
import { checkSettings, isLanguageEnabled } from "../server/settings";

/** The settings, with the defaults for values that cannot be used, as in the server. */
export function readSettings(scope?: vscode.ConfigurationScope): Settings {
  return checkSettings(vscode.workspace.getConfiguration(SETTINGS_SECTION, scope)).settings;
}

/** Writes a setting where it is set already: in the workspace if that has its own value, else for the user. */
export async function writeSetting<K extends keyof Settings>(name: K, value: Settings[K] | undefined): Promise<void> {
  const configuration = vscode.workspace.getConfiguration(SETTINGS_SECTION);
  const inWorkspace = configuration.inspect(name)?.workspaceValue !== undefined;
  const target = inWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  await configuration.update(name, value, target);
}

/** Language id of the active editor, and whether suggestions are on for it; null without an editor. */
export function activeLanguage(): { id: string; enabled: boolean } | null {
  const document = vscode.window.activeTextEditor?.document;
  if (document === undefined) return null;
  const id = document.languageId;
  return { id, enabled: isLanguageEnabled(readSettings(document), id) };
}
