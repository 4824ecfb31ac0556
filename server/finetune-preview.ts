/** What a run would learn from, before it begins: files, folders that can be left out, time and memory. */
import { basename } from "node:path";
import { openModel } from "../model-runtime/model/load-model";
import { LEAST_BYTES, readDataset } from "../model-runtime/training/dataset";
import { mostBytes } from "../model-runtime/training/finetune";
import { kitFor } from "../model-runtime/training/kit";
import { estimatedBytes, estimatedBytesPerMinute } from "../model-runtime/training/memory";
import type { Preview, PreviewFolder, PreviewParams } from "./finetune-protocol";

/** Folders that are offered at most. */
const MOST_FOLDERS = 40;
/** A folder with more than this share of the text is shown by the folders in it. */
const LARGE_SHARE = 0.6;
/** Of a run for which the files are counted; a longer one may read more. */
const MINUTES = 60;

/**
 * Reads the workspace as a run would; throws a `UserError` when there is too little text.
 * @param bytesPerSecond what the last run here learned from in a second; null when there was none
 */
export async function preview(
  { folder, filesExclude }: PreviewParams,
  model: string,
  bytesPerSecond: number | null,
): Promise<Preview> {
  const { train, heldOut, summary } = await readDataset(folder, { maxBytes: mostBytes(MINUTES), filesExclude });
  // Of few files the end is held out: the same path on both sides.
  const sizes = new Map<string, number>();
  for (const { path, bytes } of [...train, ...heldOut]) sizes.set(path, (sizes.get(path) ?? 0) + bytes.length);
  const texts = [...sizes].map(([path, bytes]) => ({ path, bytes }));
  const folders = foldersOf(texts);
  const rest = texts.filter(({ path }) => !folders.some((each) => path.startsWith(`${each.path}/`)));
  const reasons = new Map<string, number>();
  for (const { reason } of summary.passedOver) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const kit = kitFor(openModel(model));
  return {
    files: texts.length,
    bytes: sumOf(texts),
    rest: { files: rest.length, bytes: sumOf(rest) },
    folders,
    passedOver: [...reasons].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count),
    model: basename(model),
    memoryBytes: estimatedBytes(kit.defaults),
    bytesPerMinute: bytesPerSecond === null ? estimatedBytesPerMinute() : 60 * bytesPerSecond,
    leastBytes: LEAST_BYTES,
  };
}

interface Size {
  path: string;
  bytes: number;
}

/** The folders at the top, the largest first; one that holds most of the text is replaced by those in it. */
export function foldersOf(texts: readonly Size[]): PreviewFolder[] {
  const total = sumOf(texts);
  const open = [""];
  const folders: PreviewFolder[] = [];
  for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
    const prefix = parent === "" ? "" : `${parent}/`;
    const below = texts.filter(({ path }) => path.startsWith(prefix));
    const children = new Map<string, Size[]>();
    for (const text of below) {
      const rest = text.path.slice(prefix.length);
      const end = rest.indexOf("/");
      if (end < 0) continue;
      const child = prefix + rest.slice(0, end);
      children.set(child, [...(children.get(child) ?? []), text]);
    }
    for (const [path, members] of children) {
      const isOpened =
        sumOf(members) > LARGE_SHARE * total && members.some((each) => each.path.slice(path.length + 1).includes("/"));
      if (isOpened) open.push(path);
      else folders.push({ path, files: members.length, bytes: sumOf(members) });
    }
  }
  return folders.sort((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1)).slice(0, MOST_FOLDERS);
}

function sumOf(texts: readonly Size[]): number {
  return texts.reduce((sum, { bytes }) => sum + bytes, 0);
}
