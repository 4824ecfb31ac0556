/** `report.json` in an adapter's folder: what a run measured (docs/finetune.md, "The files"). */
import { join, resolve } from "node:path";
import { fileStatus } from "../checkpoint/file-access";
import { readJson } from "../checkpoint/weight-files";
import { UserError } from "../errors";
import type { FilesExclude } from "../workspace/ignore-rules";
import type { DatasetStatistics } from "./dataset";
import type { HistoryPoint, TrainEnd } from "./train";
import type { Verdict } from "./verdict";

export const reportName = "report.json";

/** What a run leaves, besides the adapter's files if it is used. */
export interface Report {
  date: string;
  root: string;
  /** Folders and patterns that were left out. */
  without: readonly string[];
  filesExclude: FilesExclude;
  verdict: Verdict;
  end: TrainEnd;
  seconds: number;
  steps: number;
  layers: number;
  positions: number;
  peakMemoryMb: number;
  /** Bytes of text learned from a second of training. */
  bytesPerSecond: number;
  train: DatasetStatistics;
  heldOut: DatasetStatistics;
  history: HistoryPoint[];
}

export function readReport(folder: string): Report {
  const path = join(resolve(folder), reportName);
  if (fileStatus(path) === null)
    throw new UserError(
      `${resolve(folder)} does not say what was held out (${reportName} is missing); name files to score.`,
    );
  return readJson(path) as Report;
}
