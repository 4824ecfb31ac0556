/** Statistics of a folder or of one document, a text at a time, when the model has nothing else to do. */
import { basename } from "node:path";
import type { CancellationToken } from "vscode-languageserver/node";
import { fileStatus } from "../model-runtime/checkpoint/file-access";
import { StatisticsCollector } from "../model-runtime/statistics/collect";
import { listFiles, readWorkspaceFile } from "../model-runtime/workspace/list-files";
import { selectFiles } from "../model-runtime/workspace/select-files";
import type { Documents } from "./documents";
import type { Overlay } from "./overlay";
import type { Refused, StatisticsParams, StatisticsProgress, StatisticsResult } from "./overlay-protocol";
import { asRead } from "./read-text";
import type { Answer } from "./readings-protocol";

/** Most text of a folder that is measured, bytes: the model reads all of it. */
export const STATISTICS_LIMIT = 2_000_000;
/** How often what is known is sent, ms. */
const SHOW_MS = 1500;

export interface StatisticsOptions {
  documents: Documents;
  overlay: Pick<Overlay, "question">;
  /** Name of the model in use. */
  model(): string;
  progress(progress: StatisticsProgress): void;
}

interface Text {
  path: string;
  size: number;
  read(): Promise<{ bytes: Uint8Array } | { reason: string }>;
}

export async function collectStatistics(
  { folder, uri, token: name }: StatisticsParams,
  { documents, overlay, model, progress }: StatisticsOptions,
  token: CancellationToken,
): Promise<StatisticsResult | Refused> {
  const skipped: { path: string; reason: string }[] = [];
  const found = folder !== undefined ? await textsOf(folder, skipped) : textOf(uri ?? "", documents);
  if ("problem" in found) return found;
  const ofBytes = found.reduce((sum, { size }) => sum + size, 0);
  const collector = new StatisticsCollector();
  let [files, bytes, shownAt] = [0, 0, performance.now()];
  for (const { path, size, read } of found) {
    if (token.isCancellationRequested) break;
    const text = await read();
    if ("reason" in text) skipped.push({ path, reason: text.reason });
    else {
      const answer = await overlay.question({ kind: "measure", bytes: text.bytes }, token);
      if (token.isCancellationRequested) break;
      if (isProblem(answer)) return answer;
      if ("bits" in answer) collector.add(path, text.bytes, answer);
      files++;
    }
    bytes += size;
    const isShown = files > 0 && performance.now() > shownAt + SHOW_MS;
    if (isShown) shownAt = performance.now();
    const statistics = isShown ? collector.result() : null;
    progress({ token: name, files, ofFiles: found.length, bytes, ofBytes, statistics });
  }
  if (files === 0) return { problem: "Nothing was measured." };
  return { statistics: collector.result(), model: model(), skipped, isPartial: token.isCancellationRequested };
}

/** The files of a folder that hold text of the user's own, up to the limit. */
async function textsOf(folder: string, skipped: { path: string; reason: string }[]): Promise<Text[] | Refused> {
  if (fileStatus(folder) === null) return { problem: `There is no folder ${folder} any more; open another one.` };
  const listing = await listFiles(folder);
  const { files } = selectFiles(listing.files, { maxBytes: STATISTICS_LIMIT });
  for (const { path, reason } of listing.passedOver) skipped.push({ path, reason });
  const chosen = new Set(files);
  const limit = `beyond the limit of ${STATISTICS_LIMIT / 1e6} MB for a folder`;
  for (const file of listing.files) if (!chosen.has(file)) skipped.push({ path: file.path, reason: limit });
  if (files.length === 0) return { problem: `There is no text of your own in ${basename(folder)}.` };
  return files.map(({ path, bytes }) => ({ path, size: bytes, read: () => readWorkspaceFile(folder, path) }));
}

function textOf(uri: string, documents: Documents): Text[] | Refused {
  const text = documents.get(uri)?.text?.getText();
  if (text === undefined) return { problem: "This document is not open in the editor, or too large to be read." };
  if (text === "") return { problem: "The file is empty: there is nothing to measure." };
  if (text.includes("\0"))
    return { problem: "This is a binary file (it has zero bytes): there is no text to measure." };
  const bytes = asRead(text);
  return [{ path: basename(decodeURIComponent(uri)), size: bytes.length, read: async () => ({ bytes }) }];
}

function isProblem(answer: Answer): answer is Refused {
  return "problem" in answer;
}
