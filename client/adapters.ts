/** The list of adapters: which one is used; delete, export, import. */
import * as vscode from "vscode";
import {
  ADAPTER_ACTION_REQUEST,
  ADAPTERS_REQUEST,
  type AdapterAction,
  type AdapterInfo,
  type Refused,
  SHARED_ID,
} from "../server/finetune-protocol";
import { chooseFolder } from "./choose-folder";
import { type AdapterEntry, adapterEntry } from "./finetune-text";
import type { LanguageServer } from "./language-server";

interface Entry extends AdapterEntry {
  /** Null is the model without one. */
  info: AdapterInfo | null;
  buttons: vscode.QuickInputButton[];
}

const exportButton = { iconPath: new vscode.ThemeIcon("export"), tooltip: "Export…" };
const deleteButton = { iconPath: new vscode.ThemeIcon("trash"), tooltip: "Delete" };
const importButton = { iconPath: new vscode.ThemeIcon("folder-opened"), tooltip: "Import…" };
const learnButton = { iconPath: new vscode.ThemeIcon("mortar-board"), tooltip: "Fine-tune on workspace" };

export async function manageAdapters(server: LanguageServer): Promise<void> {
  const first = await ask(server, ADAPTERS_REQUEST, {});
  if (first === null) return;
  const pick = vscode.window.createQuickPick<Entry>();
  pick.title = "BLT: Adapters of this workspace";
  pick.placeholder = "Choose the one that suggestions use";
  pick.buttons = [learnButton, importButton];
  const show = (list: AdapterInfo[]) => {
    pick.items = entriesOf(list);
  };
  const act = async (action: AdapterAction) => {
    const list = await ask(server, ADAPTER_ACTION_REQUEST, action);
    if (list !== null) show(list);
    return list;
  };
  show(first);
  pick.onDidTriggerButton((button) => {
    pick.hide();
    if (button === learnButton) void vscode.commands.executeCommand("blt.fineTune");
    else void importAdapter(server);
  });
  pick.onDidTriggerItemButton(({ button, item }) => {
    if (item.info === null) return;
    if (button === deleteButton) void act({ action: "delete", id: item.info.id });
    else {
      pick.hide();
      void exportAdapter(server, item.info.id);
    }
  });
  pick.onDidAccept(() => {
    const [chosen] = pick.selectedItems;
    pick.hide();
    if (chosen === undefined) return;
    if (chosen.info?.problem) void vscode.window.showErrorMessage(`BLT: ${chosen.info.problem}`);
    else void ask(server, ADAPTER_ACTION_REQUEST, { action: "use", id: chosen.info?.id ?? null });
  });
  pick.onDidHide(() => pick.dispose());
  pick.show();
}

function entriesOf(list: readonly AdapterInfo[]): Entry[] {
  const isBase = !list.some(({ isInUse }) => isInUse);
  const base: Entry = {
    label: `${isBase ? "$(check)" : "$(package)"} The model without an adapter`,
    description: isBase ? "in use" : "",
    detail: "As it comes; adapters are kept",
    info: null,
    buttons: [],
  };
  const entries = list.map((info) => ({
    ...adapterEntry(info),
    info,
    buttons: info.id === SHARED_ID ? [] : [exportButton, deleteButton],
  }));
  return [base, ...entries];
}

async function exportAdapter(server: LanguageServer, id: string): Promise<void> {
  const folder = await chooseFolder({ title: "Folder for the adapter", openLabel: "Export here" });
  if (folder === undefined) return;
  const list = await ask(server, ADAPTER_ACTION_REQUEST, { action: "export", id, folder: folder.fsPath });
  if (list === null) return;
  await vscode.window.showInformationMessage(
    `BLT: Exported to ${folder.fsPath}. A team shares it by naming that folder in the setting blt.modelPath of the workspace.`,
  );
}

async function importAdapter(server: LanguageServer): Promise<void> {
  const folder = await chooseFolder({
    title: "Folder of an adapter (adapter_config.json)",
    openLabel: "Import and use",
  });
  if (folder === undefined) return;
  const list = await ask(server, ADAPTER_ACTION_REQUEST, { action: "import", folder: folder.fsPath });
  if (list !== null)
    await vscode.window.showInformationMessage("BLT: The adapter was imported; suggestions use it now.");
}

/** The list of adapters after a request; null when it was refused, which the user is told. */
async function ask(server: LanguageServer, method: string, params: object): Promise<AdapterInfo[] | null> {
  const answer = await server.request<AdapterInfo[] | Refused>(method, params);
  if (Array.isArray(answer)) return answer;
  const sentence = answer?.problem ?? "The completion server does not run; the log says why.";
  await vscode.window.showErrorMessage(`BLT: ${sentence}`);
  return null;
}
