/** The dialogs around a model's download: licence, access token, progress, and what to do when it fails. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import * as vscode from "vscode";
import type { DownloadableModel } from "./model-download/catalogue";
import { downloadModel } from "./model-download/download-model";
import { DownloadError } from "./model-download/errors";
import { progressLine } from "./model-download/progress-line";

/** Name of the user's access token in VS Code's secret storage. */
const TOKEN = "huggingFaceToken";

type Context = Pick<vscode.ExtensionContext, "secrets" | "globalStorageUri">;

/** Where a model is or will be. */
export function folderOf(model: DownloadableModel, { globalStorageUri }: Context): string {
  return join(globalStorageUri.fsPath, "models", basename(model.id));
}

export function isDownloaded(model: DownloadableModel, context: Context): boolean {
  return existsSync(join(folderOf(model, context), "config.json"));
}

/** Leads the user through the download; the model's folder, or undefined when it was given up. */
export async function download(
  model: DownloadableModel,
  context: Context,
  log: vscode.LogOutputChannel,
): Promise<string | undefined> {
  if (!(await acceptsLicence(model))) return undefined;
  for (;;) {
    const token = (await context.secrets.get(TOKEN)) ?? (await askToken(model, context));
    if (token === undefined) return undefined;
    try {
      return await withProgress(model, context, token);
    } catch (error) {
      if (error instanceof vscode.CancellationError) return undefined;
      log.error(String(error));
      if (!(await wantsAgain(error, model, context))) return undefined;
    }
  }
}

/** Address of Hugging Face, or of the mirror that its own tools would use. */
function endpoint(): string {
  return process.env.HF_ENDPOINT || "https://huggingface.co";
}

function openPage(model: DownloadableModel): Thenable<boolean> {
  return vscode.env.openExternal(vscode.Uri.parse(`${endpoint()}/${model.id}`));
}

async function acceptsLicence(model: DownloadableModel): Promise<boolean> {
  for (;;) {
    const { name, summary } = model.licence;
    const answer = await vscode.window.showInformationMessage(
      `${model.id} is under the ${name}.`,
      { modal: true, detail: `${summary}\n\nThe model's page has the licence, and asks for its acceptance.` },
      "I have accepted it",
      "Open the page",
    );
    if (answer !== "Open the page") return answer === "I have accepted it";
    await openPage(model);
  }
}

async function askToken(model: DownloadableModel, { secrets }: Context): Promise<string | undefined> {
  const entered = await vscode.window.showInputBox({
    title: `Download ${model.id}`,
    prompt: "Access token of Hugging Face (Settings, Access Tokens). It is kept in VS Code's secret storage.",
    placeHolder: "hf_…",
    password: true,
    ignoreFocusOut: true,
    validateInput: (value) =>
      /^[\x21-\x7e]*$/.test(value.trim()) ? null : "A token has letters, digits and underscores only.",
  });
  const token = entered?.trim();
  if (token === undefined || token === "") return undefined;
  await secrets.store(TOKEN, token);
  return token;
}

async function withProgress(model: DownloadableModel, context: Context, token: string): Promise<string> {
  const folder = folderOf(model, context);
  const options = {
    location: vscode.ProgressLocation.Notification,
    title: `BLT: downloading ${model.id}`,
    cancellable: true,
  };
  await vscode.window.withProgress(options, async (progress, cancellation) => {
    const abort = new AbortController();
    cancellation.onCancellationRequested(() => abort.abort(new vscode.CancellationError()));
    const line = progressLine();
    let shown = 0;
    await downloadModel(model, folder, {
      connection: { endpoint: endpoint(), token, signal: abort.signal },
      onProgress(state) {
        const percent = state.total === 0 ? 0 : (100 * state.bytes) / state.total;
        const message = line(state, performance.now());
        if (message !== null) progress.report({ message, increment: percent - shown });
        if (message !== null) shown = percent;
      },
    });
  });
  return folder;
}

/** Says what went wrong; true when the user wants another try. */
async function wantsAgain(error: unknown, model: DownloadableModel, { secrets }: Context): Promise<boolean> {
  const kind = error instanceof DownloadError ? error.kind : "other";
  const sentence = error instanceof Error ? error.message : String(error);
  const choices = { token: ["Enter another token"], licence: ["Open the page", "Try again"], other: ["Try again"] }[
    kind
  ];
  for (;;) {
    const answer = await vscode.window.showErrorMessage(`BLT: ${sentence}`, ...choices);
    if (answer === "Enter another token") await secrets.delete(TOKEN);
    if (answer !== "Open the page") return answer !== undefined;
    await openPage(model);
  }
}
