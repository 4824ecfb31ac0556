/** The commands, one function each. */
import * as vscode from "vscode";
import { chooseFolder } from "./choose-folder";
import { type MomentLine, mergeMoments, momentLines } from "./decisions";
import { download, folderOf, isDownloaded } from "./download-command";
import type { LanguageServer } from "./language-server";
import { menuEntries } from "./menu";
import { addFolder, modelChoices, recentFolders } from "./model-choices";
import { downloadableModels } from "./model-download/catalogue";
import { activeLanguage, readSettings, writeSetting } from "./settings";
import type { Skips } from "./skips";

export async function toggle(): Promise<void> {
  await writeSetting("enable", !readSettings().enable);
}

/** Switches suggestions on or off for the language of the active editor. */
export async function toggleLanguage(): Promise<void> {
  const language = activeLanguage();
  if (language === null) return;
  await writeSetting("languages", { ...readSettings().languages, [language.id]: !language.enabled });
}

export async function triggerCompletion(): Promise<void> {
  await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
}

export function showLog(log: vscode.LogOutputChannel): void {
  log.show();
}

/** Lists what came of the last requests in this document, or in all when there is no editor; a choice goes to the place. */
export async function showWhy(server: LanguageServer, skips: Skips): Promise<void> {
  const uri = vscode.window.activeTextEditor?.document.uri.toString();
  const decisions = await server.decisions(uri === undefined ? {} : { uri });
  const skipped = skips.list().filter((moment) => uri === undefined || moment.uri === uri);
  const lines = momentLines(mergeMoments(decisions, skipped), Date.now(), (address) =>
    vscode.workspace.asRelativePath(vscode.Uri.parse(address)),
  );
  if (lines.length === 0) {
    await vscode.window.showInformationMessage(
      'BLT: No suggestion has been asked for here yet. Type, or run "BLT: Trigger completion".',
    );
    return;
  }
  const chosen = await vscode.window.showQuickPick<MomentLine>(lines, {
    title: "BLT: The last requests and what came of them",
    placeHolder: "Newest first; choose one to go to its place",
    matchOnDetail: true,
  });
  if (chosen === undefined) return;
  const position = new vscode.Position(chosen.moment.line, chosen.moment.character);
  await vscode.window.showTextDocument(vscode.Uri.parse(chosen.moment.uri), {
    selection: new vscode.Range(position, position),
  });
}

/** Lets the user choose the model in the package, a folder chosen before, another folder, or a model to download. */
export async function selectModel(context: vscode.ExtensionContext, log: vscode.LogOutputChannel): Promise<void> {
  const current = readSettings().modelPath;
  const store = context.globalState;
  const here = downloadableModels.filter((model) => isDownloaded(model, context));
  const folders = [...new Set([...recentFolders(store), ...here.map((model) => folderOf(model, context))])];
  const missing = downloadableModels.filter((model) => !here.includes(model));
  const chosen = await vscode.window.showQuickPick(modelChoices(current, folders, missing), {
    title: "BLT: Select model",
    placeHolder: "The model that makes the suggestions",
  });
  if (chosen === undefined) return;
  const folder =
    chosen.download === undefined
      ? (chosen.folder ?? (await chooseModelFolder()))
      : await download(chosen.download, context, log);
  if (folder === undefined) return;
  if (folder !== "") await addFolder(store, folder);
  await writeSetting("modelPath", folder === "" ? undefined : folder);
}

export async function restartServer(server: LanguageServer): Promise<void> {
  await server.restart();
}

export async function openMenu(): Promise<void> {
  const entries = menuEntries({ enabled: readSettings().enable, language: activeLanguage() });
  const chosen = await vscode.window.showQuickPick(entries, { title: "BLT Code" });
  if (chosen !== undefined) await vscode.commands.executeCommand(chosen.command, ...(chosen.arguments ?? []));
}

/** A folder that holds a checkpoint; undefined when the user gives up. */
async function chooseModelFolder(): Promise<string | undefined> {
  const folder = await chooseFolder({ title: "Folder of a BLT checkpoint", openLabel: "Use this model" });
  if (folder === undefined) return undefined;
  const names = (await vscode.workspace.fs.readDirectory(folder)).map(([name]) => name);
  // The last is an adapter's, for the model in the package.
  if (["config.json", "params.json", "adapter_config.json"].some((name) => names.includes(name))) return folder.fsPath;
  const again = await vscode.window.showErrorMessage(
    `BLT: ${folder.fsPath} is not the folder of a BLT checkpoint: it has no config.json. Choose the folder with config.json and model.safetensors.`,
    "Choose another",
  );
  return again === undefined ? undefined : chooseModelFolder();
}
