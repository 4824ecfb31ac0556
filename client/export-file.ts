/** Saves what the explorer exports where the user wants it. */
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import type { ExportFormat } from "../media/explorer/messages";

const filters: Readonly<Record<ExportFormat, string>> = {
  png: "Picture",
  svg: "Picture",
  csv: "Table",
  json: "JSON",
};

/** @param data the file's text, or base64 of it for `png` */
export async function exportFile(
  format: ExportFormat,
  data: string,
  document: vscode.TextDocument | null,
): Promise<void> {
  const name = `${document === null ? "text" : basename(document.uri.path)}-patches.${format}`;
  const file = await vscode.window.showSaveDialog({
    title: "Export patches",
    saveLabel: "Export",
    defaultUri: folderFor(document, name),
    filters: { [filters[format]]: [format] },
  });
  if (file === undefined) return;
  try {
    await vscode.workspace.fs.writeFile(file, Buffer.from(data, format === "png" ? "base64" : "utf8"));
  } catch (error) {
    await vscode.window.showErrorMessage(
      `BLT: ${file.fsPath} could not be written (${(error as Error).message}); choose another place.`,
    );
    return;
  }
  const choice = await vscode.window.showInformationMessage(`BLT: Exported to ${file.fsPath}.`, "Open");
  if (choice === "Open") await vscode.commands.executeCommand("vscode.open", file);
}

/** Beside the workspace's files, else beside the document. */
function folderFor(document: vscode.TextDocument | null, name: string): vscode.Uri | undefined {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  if (folder !== undefined) return vscode.Uri.joinPath(folder, name);
  if (document?.uri.scheme !== "file") return undefined;
  return vscode.Uri.joinPath(vscode.Uri.file(dirname(document.uri.fsPath)), name);
}
