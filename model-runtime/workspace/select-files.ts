/** Which files are read when not all of a workspace fits: the most relevant first, up to a number of bytes. */
import type { WorkspaceFile } from "./list-files";

export interface SelectOptions {
  /** Bytes that all files together may have. */
  maxBytes: number;
  /** Paths that the user works on, the most important first; relative to the workspace's folder. */
  near?: readonly string[];
}

export interface Selection {
  /** The most relevant first. */
  files: WorkspaceFile[];
  bytes: number;
  /** How many files did not fit. */
  leftOut: number;
}

/**
 * The most relevant files that fit. Relevance is the sum of: 2 for a file in the language (by its name's extension) of one
 * that the user works on; closeness of its folder to theirs, from 1 in the same folder falling to 0; how recently it was
 * written among all times of writing, from 1 for the newest to 0; and, where the user works on none, the share of its language.
 */
export function selectFiles(files: readonly WorkspaceFile[], { maxBytes, near = [] }: SelectOptions): Selection {
  const relevance = relevanceOf(files, near);
  const ordered = [...files].sort(
    (a, b) => relevance.get(b)! - relevance.get(a)! || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0),
  );
  const chosen: WorkspaceFile[] = [];
  let bytes = 0;
  for (const file of ordered) {
    if (bytes + file.bytes > maxBytes) continue;
    chosen.push(file);
    bytes += file.bytes;
  }
  return { files: chosen, bytes, leftOut: files.length - chosen.length };
}

function relevanceOf(files: readonly WorkspaceFile[], near: readonly string[]): Map<WorkspaceFile, number> {
  const languages = new Map<string, number>();
  for (const { path } of files) languages.set(extensionOf(path), (languages.get(extensionOf(path)) ?? 0) + 1);
  const nearLanguages = new Set(near.map(extensionOf));
  const nearFolders = near.map(foldersOf);
  const relevance = new Map<WorkspaceFile, number>();
  const times = [...new Set(files.map(({ modified }) => modified))].sort((a, b) => a - b);
  const recency = new Map(times.map((time, age) => [time, age / Math.max(1, times.length - 1)]));
  for (const file of files) {
    const extension = extensionOf(file.path);
    const share = languages.get(extension)! / files.length;
    const language = near.length === 0 ? share : nearLanguages.has(extension) ? 2 : 0;
    const folder = foldersOf(file.path);
    const closeness = nearFolders.reduce((best, other) => Math.max(best, 1 / (1 + distance(folder, other))), 0);
    relevance.set(file, language + closeness + recency.get(file.modified)!);
  }
  return relevance;
}

function foldersOf(path: string): string[] {
  return path.split("/").slice(0, -1);
}

/** Steps up and down from one folder to the other. */
function distance(a: readonly string[], b: readonly string[]): number {
  let common = 0;
  while (common < a.length && common < b.length && a[common] === b[common]) common++;
  return a.length + b.length - 2 * common;
}

function extensionOf(path: string): string {
  return /\.[^./]+$/.exec(path)?.[0].toLowerCase() ?? "";
}
