/**
 * The text files of a folder by the rules of `ignore-rules.ts` and `text-rules.ts`: listed by name first, then read one by
 * one, when the content decides as well. Nothing here throws for what lies on a disk: what cannot be read is passed over
 * with the reason. Links are not followed, so that no loop and nothing outside the folder is ever entered.
 */
import type { Dirent } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { type ExcludeTest, type FilesExclude, filesExcludeTest, IgnoreRules, ignoreFiles } from "./ignore-rules";
import { MAX_FILE_BYTES, type PassReason, passContent, passFolder, passName } from "./text-rules";

/** A file that may hold text that the user wrote. */
export interface WorkspaceFile {
  /** Relative to the workspace's folder, with "/" between names. */
  path: string;
  bytes: number;
  /** When it was written last, ms since 1970. */
  modified: number;
}

export interface PassedOver {
  path: string;
  reason: PassReason;
}

export interface Listing {
  /** By path. */
  files: WorkspaceFile[];
  /** What was passed over; of a folder only the folder itself. */
  passedOver: PassedOver[];
  /** Whether there were more than `maxFiles`, and the rest was not looked at. */
  isCut: boolean;
}

export interface ListOptions {
  filesExclude?: FilesExclude;
  /** Files after which the listing ends; default 100,000. */
  maxFiles?: number;
  signal?: AbortSignal;
}

const DEFAULT_MAX_FILES = 100_000;

/** Lists a folder; a folder that does not exist or cannot be read gives an empty list and itself as passed over. */
export async function listFiles(root: string, options: ListOptions = {}): Promise<Listing> {
  const { filesExclude = {}, maxFiles = DEFAULT_MAX_FILES, signal } = options;
  const listing: Listing = { files: [], passedOver: [], isCut: false };
  const excludes = filesExcludeTest(filesExclude);
  const above = await rulesAbove(resolve(root));
  const queue = [{ path: "", rules: above.rules }];
  const prefix = above.prefix;
  while (queue.length > 0 && !listing.isCut) {
    signal?.throwIfAborted();
    const folder = queue.pop()!;
    let entries: Dirent[];
    try {
      entries = await readdir(join(root, folder.path), { withFileTypes: true });
    } catch (error) {
      listing.passedOver.push({ path: folder.path || ".", reason: errorReason(error) });
      continue;
    }
    const names = new Set(entries.map(({ name }) => name));
    if (folder.path !== "" && isMarkedFolder(names)) {
      listing.passedOver.push({ path: folder.path, reason: "generated" });
      continue;
    }
    const rules = await rulesInside(folder.rules, root, folder.path, prefix, names);
    const folders: string[] = [];
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = folder.path === "" ? entry.name : `${folder.path}/${entry.name}`;
      const reason = passEntry(entry, path, prefix, rules, excludes, names);
      if (reason !== null) {
        listing.passedOver.push({ path, reason });
      } else if (entry.isDirectory()) {
        folders.push(path);
      } else if (entry.isFile()) {
        if (listing.files.length === maxFiles) {
          listing.isCut = true;
          break;
        }
        await addFile(root, path, listing);
      }
    }
    for (const path of folders.reverse()) queue.push({ path, rules });
  }
  return listing;
}

/** A file's text, or why it is passed over. */
export type ReadResult = { bytes: Uint8Array; modified: number } | { reason: PassReason };

/** How often a file that is being written is read again. */
const ATTEMPTS = 3;

/** Reads a file as one consistent state: one that changes while it is read is read again. */
export async function readWorkspaceFile(root: string, path: string): Promise<ReadResult> {
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const handle = await open(join(root, path), "r");
      try {
        const before = await handle.stat();
        if (!before.isFile()) return { reason: "unreadable" };
        if (before.size > MAX_FILE_BYTES) return { reason: "too large" };
        const bytes = await handle.readFile();
        const after = await handle.stat();
        if (after.mtimeMs !== before.mtimeMs || after.size !== bytes.length) continue;
        const reason = passContent(path.slice(path.lastIndexOf("/") + 1), bytes);
        return reason === null ? { bytes, modified: after.mtimeMs } : { reason };
      } finally {
        await handle.close();
      }
    }
    return { reason: "changing" };
  } catch (error) {
    return { reason: errorReason(error) };
  }
}

/**
 * Whether a path would be listed now: for a file that was saved or created. Folders above it and rules files are looked at
 * anew, so it costs some reads.
 */
export async function passReasonOf(root: string, path: string, options: ListOptions = {}): Promise<PassReason | null> {
  const above = await rulesAbove(resolve(root));
  const excludes = filesExcludeTest(options.filesExclude ?? {});
  let rules = above.rules;
  const names = path.split("/");
  for (let depth = 0; depth < names.length; depth++) {
    const folder = names.slice(0, depth).join("/");
    try {
      const entries = await readdir(join(root, folder), { withFileTypes: true });
      const siblings = new Set(entries.map(({ name }) => name));
      if (folder !== "" && isMarkedFolder(siblings)) return "generated";
      rules = await rulesInside(rules, root, folder, above.prefix, siblings);
      const entry = entries.find(({ name }) => name === names[depth]);
      if (entry === undefined) return "vanished";
      const reason = passEntry(entry, names.slice(0, depth + 1).join("/"), above.prefix, rules, excludes, siblings);
      if (reason !== null) return reason;
    } catch (error) {
      return errorReason(error);
    }
  }
  return null;
}

function passEntry(
  entry: Dirent,
  path: string,
  prefix: string,
  rules: IgnoreRules | null,
  excludes: ExcludeTest,
  siblings: ReadonlySet<string>,
): PassReason | null {
  if (entry.isSymbolicLink()) return "link";
  const isFolder = entry.isDirectory();
  if (!isFolder && !entry.isFile()) return "unreadable";
  const reason = isFolder ? passFolder(entry.name) : passName(entry.name);
  if (reason !== null) return reason;
  if (rules?.ignores(prefix + path + (isFolder ? "/" : "")) || excludes(path, siblings)) return "ignored";
  return null;
}

async function addFile(root: string, path: string, listing: Listing): Promise<void> {
  try {
    const { size, mtimeMs } = await stat(join(root, path));
    if (size === 0) listing.passedOver.push({ path, reason: "empty" });
    else if (size > MAX_FILE_BYTES) listing.passedOver.push({ path, reason: "too large" });
    else listing.files.push({ path, bytes: size, modified: mtimeMs });
  } catch (error) {
    listing.passedOver.push({ path, reason: errorReason(error) });
  }
}

/** Folders that say themselves that they hold what a tool made: caches (bford.info/cachedir) and Python environments. */
function isMarkedFolder(names: ReadonlySet<string>): boolean {
  return names.has("CACHEDIR.TAG") || names.has("pyvenv.cfg");
}

/** The rules of the repository that `root` is a folder of, and the path of `root` in it ("" or ending in "/"). */
async function rulesAbove(root: string): Promise<{ rules: IgnoreRules | null; prefix: string }> {
  let top = root;
  while (!(await exists(join(top, ".git")))) {
    if (dirname(top) === top) return { rules: null, prefix: "" };
    top = dirname(top);
  }
  const exclude = await readRules(join(top, ".git/info/exclude"));
  let rules = exclude === null ? null : IgnoreRules.inside(null, "", [exclude]);
  const steps = relative(top, root)
    .split(sep)
    .filter((name) => name !== "");
  for (let depth = 0; depth < steps.length; depth++) {
    const base = steps
      .slice(0, depth)
      .map((name) => `${name}/`)
      .join("");
    rules = await rulesAt(rules, join(top, ...steps.slice(0, depth)), base, new Set(ignoreFiles));
  }
  return { rules, prefix: steps.map((name) => `${name}/`).join("") };
}

async function rulesInside(
  rules: IgnoreRules | null,
  root: string,
  folder: string,
  prefix: string,
  names: ReadonlySet<string>,
): Promise<IgnoreRules | null> {
  return rulesAt(rules, join(root, folder), prefix + (folder === "" ? "" : `${folder}/`), names);
}

async function rulesAt(
  rules: IgnoreRules | null,
  folder: string,
  base: string,
  names: ReadonlySet<string>,
): Promise<IgnoreRules | null> {
  const texts: string[] = [];
  for (const name of ignoreFiles) {
    const text = names.has(name) ? await readRules(join(folder, name)) : null;
    if (text !== null) texts.push(text);
  }
  return texts.length === 0 ? rules : IgnoreRules.inside(rules, base, texts);
}

/** Null when there is none, or none that can be read: git goes on without it, too. */
async function readRules(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (typeof (error as NodeJS.ErrnoException).code === "string") return null;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (typeof (error as NodeJS.ErrnoException).code === "string") return false;
    throw error;
  }
}

/** What an error of the file system says of a path; an error of another kind is thrown on. */
export function errorReason(error: unknown): PassReason {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) throw error;
  if (code === "ENOENT" || code === "ENOTDIR") return "vanished";
  return code === "EACCES" || code === "EPERM" ? "no permission" : "unreadable";
}
