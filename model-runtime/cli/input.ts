/** What a command reads: a file, stdin, or all text files under folders. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors";
import type { Terminal } from "./terminal";

/**
 * The bytes of the file at `path`, or of stdin when it is `-`; an input without a byte is a `UserError` that ends with
 * `advice`.
 */
export async function readText(path: string, advice: string): Promise<Uint8Array> {
  const bytes = path === "-" ? await readStdin() : readBytes(path);
  if (bytes.length === 0) throw new UserError(`${path === "-" ? "stdin" : path} is empty; ${advice}.`);
  return bytes;
}

/** A text file, or one that is passed over and why. */
export interface FoundFile {
  path: string;
  bytes: number;
  skipped: "binary" | "empty" | null;
}

/**
 * The files that `paths` name or hold and that have text, in the order of `paths` and then of their names. What is
 * passed over is told to the user; a `UserError` when nothing is left.
 */
export function findTexts(paths: readonly string[], terminal: Terminal): { texts: FoundFile[]; skipped: FoundFile[] } {
  const found = findFiles(paths);
  const texts = found.filter(({ skipped }) => skipped === null);
  const skipped = found.filter((file) => file.skipped !== null);
  if (texts.length === 0) throw new UserError(`There is no text in ${paths.join(", ")}; name files that have some.`);
  if (skipped.length > 0) {
    const named = skipped.slice(0, 5).map((file) => `${file.path} (${file.skipped})`);
    const rest = skipped.length > named.length ? ` and ${skipped.length - named.length} more` : "";
    terminal.notice(`Skipped ${named.join(", ")}${rest}.`);
  }
  return { texts, skipped };
}

/** Folders that hold no text of the user's own. */
const passedOver = new Set([".git", "node_modules"]);

/**
 * The files named, and those in the folders named, in the order of their names. In folders, `.git`, `node_modules` and
 * links are passed over; binary files are marked as skipped, unless they are named themselves.
 */
function findFiles(paths: readonly string[]): FoundFile[] {
  const found: FoundFile[] = [];
  for (const path of paths) {
    const status = statusOf(path);
    if (status.isDirectory()) found.push(...filesUnder(path));
    else found.push({ path, bytes: status.size, skipped: status.isFile() && status.size === 0 ? "empty" : null });
  }
  return found;
}

export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function readStdin(): Promise<Uint8Array> {
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    return Buffer.concat(chunks);
  } catch (error) {
    throw unreadable("stdin", error);
  }
}

function filesUnder(folder: string): FoundFile[] {
  const entries = readFolder(folder).sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry): FoundFile[] => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return passedOver.has(entry.name) ? [] : filesUnder(path);
    if (!entry.isFile()) return [];
    const bytes = statusOf(path).size;
    return [{ path, bytes, skipped: bytes === 0 ? "empty" : isBinary(path) ? "binary" : null }];
  });
}

/** As git does: a zero byte near the beginning. */
function isBinary(path: string): boolean {
  try {
    const descriptor = openSync(path, "r");
    try {
      const head = new Uint8Array(8000);
      return head.subarray(0, readSync(descriptor, head)).includes(0);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
}

function readFolder(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    throw unreadable(folder, error);
  }
}

function statusOf(path: string) {
  try {
    return statSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): UserError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return new UserError(`There is no file ${path}; check the name.`);
  if (code === "EISDIR") return new UserError(`${path} is a folder; name a file.`);
  if (code === "EACCES" || code === "EPERM") {
    return new UserError(`${path} cannot be read (no permission); check who may read it.`);
  }
  return new UserError(`${path} cannot be read (${code ?? (error as Error).message}); check the file.`);
}
