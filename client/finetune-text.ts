/** What fine-tuning and the adapters say in menus and messages, as texts. */
import { duration } from "../model-runtime/display/duration";
import { byteCount } from "../model-runtime/display/html";
import type { AdapterInfo, Preview, RunningState, RunState, RunSummary } from "../server/finetune-protocol";
import { SHARED_ID } from "../server/finetune-protocol";

/** An entry of the list of folders to learn from. */
export interface FolderEntry {
  label: string;
  description: string;
  /** Null for the files that lie in no folder of the list. */
  path: string | null;
}

export function folderEntries({ folders, rest }: Preview): FolderEntry[] {
  const entry = (label: string, path: string | null, size: { files: number; bytes: number }) => ({
    label,
    path,
    description: `${fileCount(size.files)}, ${byteCount(size.bytes)}`,
  });
  return [
    ...folders.map((folder) => entry(`$(folder) ${folder.path}`, folder.path, folder)),
    ...(rest.files === 0
      ? []
      : [entry(folders.length === 0 ? "$(files) All files" : "$(files) Files beside these folders", null, rest)]),
  ];
}

/** What is selected, what it takes, and what was passed over. */
export function selectionLine(preview: Preview, without: readonly string[]): string {
  const { files, bytes } = selected(preview, without);
  const passed = preview.passedOver.reduce((sum, { count }) => sum + count, 0);
  const reasons = preview.passedOver.slice(0, 3).map(({ reason }) => reason);
  return `${fileCount(files)}, ${byteCount(bytes)}${passed === 0 ? "" : `; ${passed} passed over (${reasons.join(", ")})`}`;
}

/** Why a run with this selection would not begin; null when it would. */
export function selectionProblem(preview: Preview, without: readonly string[]): string | null {
  const { bytes } = selected(preview, without);
  return bytes >= preview.leastBytes
    ? null
    : `Fine-tuning takes at least ${byteCount(preview.leastBytes)} of text; ${byteCount(bytes)} are selected.`;
}

function selected({ files, bytes, folders }: Preview, without: readonly string[]) {
  const left = folders.filter(({ path }) => without.includes(path));
  return {
    files: files - left.reduce((sum, folder) => sum + folder.files, 0),
    bytes: bytes - left.reduce((sum, folder) => sum + folder.bytes, 0),
  };
}

export interface TimeEntry {
  label: string;
  description: string;
  detail: string;
  minutes: number;
}

/** Share of a run that goes into learning, not into measuring. */
const LEARNING_SHARE = 0.65;

/** How long a run may take; the time that suits the text first. */
export function timeEntries(preview: Preview, without: readonly string[]): TimeEntry[] {
  const { bytes } = selected(preview, without);
  const memory = `${(preview.memoryBytes / 1e9).toFixed(1)} GB`;
  return [10, 5, 20, 60, 1].map((minutes) => {
    const times = (preview.bytesPerMinute * minutes * LEARNING_SHARE) / Math.max(1, bytes);
    return {
      minutes,
      label: `$(clock) About ${duration(60 * minutes)}`,
      description: minutes === 10 ? "recommended" : minutes === 1 ? "to try it" : "",
      detail: `Reads ${amountText(times)}; takes ${memory} of memory, at low priority`,
    };
  });
}

/** How much of the text is read, in words. */
function amountText(times: number): string {
  if (times < 0.95) return `about ${Math.max(1, Math.round(100 * times))} % of the text`;
  return times < 1.05
    ? "the text about once"
    : `the text about ${times < 9.5 ? times.toFixed(1) : Math.round(times)} times`;
}

/** The item in the status bar while a run goes on, or could; null for none. */
export function runItem(state: RunState): { text: string; tooltip: string } | null {
  if (state.kind === "unfinished")
    return { text: "$(debug-pause) BLT: fine-tuning cut off", tooltip: "Fine-tuning was cut off and can go on." };
  if (state.kind !== "running") return null;
  const icon = state.pausedBy === null ? "$(mortar-board)" : "$(debug-pause)";
  return {
    text: `${icon} BLT ${shareOf(state)}%`,
    tooltip: "Fine-tuning on this workspace; click to see how it goes.",
  };
}

/** Share of the whole run in percent: measuring before, learning, measuring after. */
export function shareOf({ phase, fraction }: RunningState): number {
  const [from, to] = {
    reading: [0, 1],
    scoring: [1, 16],
    loading: [16, 20],
    training: [20, 85],
    judging: [85, 100],
  }[phase];
  return Math.round(from + (to - from) * Math.min(1, Math.max(0, fraction)));
}

/** The message at the end of a run. */
export function doneMessage({ adapter, sentence }: RunSummary): string {
  return adapter === null
    ? `BLT: Nothing was changed. ${sentence}`
    : `BLT has learned from this workspace. ${sentence} Suggestions use it now.`;
}

export interface AdapterEntry {
  label: string;
  description: string;
  detail: string;
}

export function adapterEntry(info: AdapterInfo): AdapterEntry {
  const { id, date, files, trainedBytes, sizeBytes, heldOut, exactMatch, isInUse, problem } = info;
  const name = id === SHARED_ID ? "The adapter that the settings name" : date === "" ? id : dateText(date);
  const learned = files === 0 ? [] : [`${fileCount(files)}, ${byteCount(trainedBytes)}`];
  const gains = [
    ...(heldOut === null ? [] : [`${heldOut.before.toFixed(3)} → ${heldOut.after.toFixed(3)} bits per byte`]),
    ...(exactMatch === null ? [] : [`lines right ${percent(exactMatch.before)} → ${percent(exactMatch.after)}`]),
  ];
  return {
    label: `${problem !== null ? "$(warning)" : isInUse ? "$(check)" : "$(mortar-board)"} ${name}`,
    description: isInUse ? "in use" : "",
    detail: problem ?? [...gains, ...learned, byteCount(sizeBytes)].join("; "),
  };
}

/** An adapter's name from its id, which begins with its date (`2026-01-02T03-04-05`); of another id the id. */
export function adapterName(id: string): string {
  const [, day, time, copy] = /^(\d{4}-\d\d-\d\d)T(\d\d-\d\d-\d\d)(-\d+)?$/.exec(id) ?? [];
  if (day === undefined) return id;
  return dateText(`${day}T${time.replaceAll("-", ":")}Z`) + (copy === undefined ? "" : ` (${copy.slice(1)})`);
}

/** `2026-01-02 03:04`, in the machine's time. */
function dateText(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function fileCount(files: number): string {
  return `${files} ${files === 1 ? "file" : "files"}`;
}
