/** Asks for one folder. */
import * as vscode from "vscode";

/** The folder that the user chooses; undefined when they close the dialog. */
export async function chooseFolder(texts: { title: string; openLabel: string }): Promise<vscode.Uri | undefined> {
  const [folder] =
    (await vscode.window.showOpenDialog({ ...texts, canSelectFiles: false, canSelectFolders: true })) ?? [];
  return folder;
}
