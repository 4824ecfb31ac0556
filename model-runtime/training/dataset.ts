/**
 * The texts of a workspace as data: a part is held out and never trained on, whole folders where there are enough of
 * them, chosen by a hash of their names, so that every run on the same workspace holds out the same.
 */
import { createHash } from "node:crypto";
import { fileStatus } from "../checkpoint/file-access";
import { UserError } from "../errors";
import type { FilesExclude } from "../workspace/ignore-rules";
import { readWorkspace, type WorkspaceSummary, type WorkspaceText } from "../workspace/read-workspace";
import { languageOf } from "./language";
import type { Document } from "./trainee";

export interface DatasetOptions {
  /** Bytes that are read at most. */
  maxBytes: number;
  filesExclude?: FilesExclude;
  /** Folders that the user unselected, relative, with "/" between names. */
  without?: readonly string[];
  signal?: AbortSignal;
}

export interface Dataset {
  train: Document[];
  heldOut: Document[];
  summary: WorkspaceSummary;
}

/** Less text than this teaches nothing that could be told from noise. */
export const LEAST_BYTES = 16_000;
/** Share of the bytes that is held out. */
const HELD_OUT_SHARE = 0.12;
/** With fewer files, the end of each is held out instead of whole files. */
const LEAST_FILES = 8;
const LEAST_FOLDERS = 8;
/** A file's weight halves, down to the half of a new one's, over this time since the newest file was written. */
const HALF_LIFE_MS = 180 * 24 * 3600 * 1000;

/** Reads a workspace; throws a `UserError` when there is too little text. */
export async function readDataset(root: string, options: DatasetOptions): Promise<Dataset> {
  const { maxBytes, filesExclude, without = [], signal } = options;
  if (fileStatus(root) === null) throw new UserError(`There is no folder ${root}; open or name the one to learn from.`);
  const exclude: FilesExclude = { ...filesExclude, ...Object.fromEntries(without.map((folder) => [folder, true])) };
  const texts: WorkspaceText[] = [];
  const seen = new Map<string, string>();
  const twins: WorkspaceSummary["twins"] = [];
  const reading = readWorkspace(root, { maxBytes, filesExclude: exclude, signal });
  let step = await reading.next();
  for (; !step.done; step = await reading.next()) {
    const text = step.value;
    if (without.some((folder) => text.path.startsWith(`${folder}/`))) continue;
    // Copies that differ in white space only would be held out and trained on at once.
    const key = createHash("sha256")
      .update(Buffer.from(text.bytes).toString("latin1").replace(/\s+/g, ""))
      .digest("hex");
    const of = seen.get(key);
    if (of !== undefined) {
      twins.push({ path: text.path, of });
      continue;
    }
    seen.set(key, text.path);
    texts.push(text);
  }
  const summary = { ...step.value, twins: [...step.value.twins, ...twins] };
  const bytes = texts.reduce((sum, text) => sum + text.bytes.length, 0);
  if (bytes < LEAST_BYTES) throw new UserError(tooLittle(root, texts.length, bytes, summary));
  return { ...split(texts), summary };
}

/** Divides texts into those to train on and those held out. */
export function split(texts: readonly WorkspaceText[]): { train: Document[]; heldOut: Document[] } {
  const newest = Math.max(...texts.map(({ modified }) => modified));
  const documents = texts.map(({ path, bytes, modified }) => ({
    path,
    bytes,
    weight: 0.5 + 0.5 * 2 ** (-(newest - modified) / HALF_LIFE_MS),
  }));
  if (documents.length < LEAST_FILES) return splitEnds(documents);
  const total = documents.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const folders = grouped(documents, folderOf);
  const small = [...folders].filter(([, members]) => sizeOf(members) <= (total * HELD_OUT_SHARE * 3) / 2);
  const groups =
    folders.size >= LEAST_FOLDERS && small.length > 1 ? small : [...grouped(documents, ({ path }) => path)];
  groups.sort(([a], [b]) => (rank(a) < rank(b) ? -1 : 1));
  const heldOut = new Set<Document>();
  let held = 0;
  for (const [, members] of groups) {
    if (held >= total * HELD_OUT_SHARE) break;
    const size = sizeOf(members);
    if (held > 0 && held + size > total * HELD_OUT_SHARE * 2) continue;
    for (const member of members) heldOut.add(member);
    held += size;
  }
  return {
    train: documents.filter((document) => !heldOut.has(document)),
    heldOut: documents.filter((document) => heldOut.has(document)),
  };
}

/** Statistics of documents, for the preview and the report. */
export interface DatasetStatistics {
  files: number;
  bytes: number;
  lines: number;
  /** Bytes by language, the most first. */
  languages: Record<string, number>;
}

export function statisticsOf(documents: readonly Document[]): DatasetStatistics {
  const languages = new Map<string, number>();
  let lines = 0;
  for (const { path, bytes } of documents) {
    const language = languageOf(path);
    languages.set(language, (languages.get(language) ?? 0) + bytes.length);
    for (const byte of bytes) if (byte === NEWLINE) lines++;
  }
  return {
    files: documents.length,
    bytes: sizeOf(documents),
    lines,
    languages: Object.fromEntries([...languages].sort(([, a], [, b]) => b - a)),
  };
}

const NEWLINE = 0x0a;

/** Of few files, the last lines of each. */
function splitEnds(documents: readonly Document[]): { train: Document[]; heldOut: Document[] } {
  const train: Document[] = [];
  const heldOut: Document[] = [];
  for (const document of documents) {
    const { bytes } = document;
    const newline = bytes.indexOf(NEWLINE, Math.floor(bytes.length * (1 - HELD_OUT_SHARE)));
    const end = newline < 0 || newline === bytes.length - 1 ? bytes.length : newline + 1;
    train.push({ ...document, bytes: bytes.subarray(0, end) });
    if (end < bytes.length) heldOut.push({ ...document, bytes: bytes.subarray(end) });
  }
  if (heldOut.length > 0) return { train, heldOut };
  // Without a line end to cut at, at a byte.
  const longest = train.reduce((most, document) => (document.bytes.length > most.bytes.length ? document : most));
  const cut = Math.floor(longest.bytes.length * (1 - HELD_OUT_SHARE));
  return {
    train: train.map((document) =>
      document === longest ? { ...longest, bytes: longest.bytes.subarray(0, cut) } : document,
    ),
    heldOut: [{ ...longest, bytes: longest.bytes.subarray(cut) }],
  };
}

function grouped(documents: readonly Document[], keyOf: (document: Document) => string): Map<string, Document[]> {
  const groups = new Map<string, Document[]>();
  for (const document of documents) {
    const key = keyOf(document);
    groups.set(key, [...(groups.get(key) ?? []), document]);
  }
  return groups;
}

function folderOf({ path }: Document): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

function rank(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

function sizeOf(documents: readonly Document[]): number {
  return documents.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

function tooLittle(root: string, files: number, bytes: number, { passedOver }: WorkspaceSummary): string {
  const found = files === 0 ? "no text" : `only ${bytes} bytes of text in ${files} file${files === 1 ? "" : "s"}`;
  const reasons = [...new Set(passedOver.map(({ reason }) => reason))].slice(0, 3).join(", ");
  const passed = passedOver.length === 0 ? "" : ` (${passedOver.length} passed over: ${reasons})`;
  return `There is ${found} to learn from in ${root}${passed}; fine-tuning takes at least ${LEAST_BYTES / 1000} kB.`;
}
