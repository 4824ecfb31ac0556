/** The preview of a run: what it would learn from, with folders to unselect, and how long it may take. */
import * as vscode from "vscode";
import {
  PREVIEW_REQUEST,
  type Preview,
  type PreviewParams,
  type Refused,
  type StartParams,
} from "../server/finetune-protocol";
import { type FolderEntry, folderEntries, selectionLine, selectionProblem, timeEntries } from "./finetune-text";
import type { LanguageServer } from "./language-server";

/** What the user wants to run; null when they gave up or it is not possible, which they were told then. */
export async function chooseRun(server: LanguageServer): Promise<StartParams | null> {
  const folder = await chooseFolder();
  if (folder === null) return null;
  const filesExclude = vscode.workspace
    .getConfiguration("files", folder.uri)
    .get<Record<string, boolean>>("exclude", {});
  const params: PreviewParams = { folder: folder.uri.fsPath, filesExclude };
  const preview = await vscode.window.withProgress(
    { location: vscode.ProgressLocation.Window, title: "BLT: looking for text to learn from" },
    () => server.request<Preview | Refused>(PREVIEW_REQUEST, params),
  );
  if (preview === null || "problem" in preview) {
    const sentence = preview?.problem ?? "The completion server does not run; the log says why.";
    await vscode.window.showErrorMessage(`BLT: ${sentence}`);
    return null;
  }
  const without = await chooseFolders(folder.name, preview);
  if (without === null) return null;
  const time = await vscode.window.showQuickPick(timeEntries(preview, without), {
    title: `BLT: Fine-tune on ${folder.name}: ${selectionLine(preview, without)} (2/2)`,
    placeHolder: "How long it may take, everything included",
  });
  return time === undefined ? null : { ...params, without, minutes: time.minutes };
}

async function chooseFolder(): Promise<vscode.WorkspaceFolder | null> {
  const folders = (vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === "file");
  if (folders.length === 0) {
    await vscode.window.showInformationMessage("BLT: Open a folder first: there is nothing to learn from.");
    return null;
  }
  if (folders.length === 1) return folders[0];
  const entries = folders.map((folder) => ({ label: folder.name, description: folder.uri.fsPath, folder }));
  const chosen = await vscode.window.showQuickPick(entries, { title: "BLT: Fine-tune on which folder?" });
  return chosen?.folder ?? null;
}

/** The folders that the user unselects; null when they give up. */
async function chooseFolders(name: string, preview: Preview): Promise<string[] | null> {
  const pick = vscode.window.createQuickPick<FolderEntry>();
  const withoutOf = (chosen: readonly FolderEntry[]) =>
    preview.folders.map(({ path }) => path).filter((path) => !chosen.some((entry) => entry.path === path));
  const describe = () => {
    const without = withoutOf(pick.selectedItems);
    pick.title = `BLT: Fine-tune on ${name}: ${selectionLine(preview, without)} (1/2)`;
    pick.placeholder =
      selectionProblem(preview, without) ?? "Unselect what it is not to learn from; nothing leaves this machine";
  };
  const entries = folderEntries(preview);
  Object.assign(pick, { canSelectMany: true, ignoreFocusOut: true, items: entries, selectedItems: entries });
  describe();
  try {
    return await new Promise<string[] | null>((resolve) => {
      pick.onDidChangeSelection(describe);
      pick.onDidHide(() => resolve(null));
      pick.onDidAccept(() => {
        const without = withoutOf(pick.selectedItems);
        if (selectionProblem(preview, without) === null) resolve(without);
      });
      pick.show();
    });
  } finally {
    pick.dispose();
  }
}
