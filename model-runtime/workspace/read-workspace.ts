/** The texts of a workspace one by one, the most relevant first, each text once. */
import { createHash } from "node:crypto";
import { type ListOptions, listFiles, type PassedOver, readWorkspaceFile } from "./list-files";
import { selectFiles } from "./select-files";

export interface WorkspaceText {
  /** Relative to the workspace's folder, with "/" between names. */
  path: string;
  bytes: Uint8Array;
  /** When it was written last, ms since 1970. */
  modified: number;
}

export interface ReadOptions extends ListOptions {
  /** Bytes of text after which no more is read. */
  maxBytes: number;
  /** Paths that the user works on, the most important first. */
  near?: readonly string[];
}

export interface WorkspaceSummary {
  files: number;
  bytes: number;
  passedOver: PassedOver[];
  /** Files whose text another file that was read has as well. */
  twins: { path: string; of: string }[];
  /** Files that would have been read if more bytes were allowed. */
  leftOut: number;
  /** Whether the folder has more files than are looked at. */
  isCut: boolean;
}

/** Yields the texts; returns what was read and what was not. */
export async function* readWorkspace(
  root: string,
  options: ReadOptions,
): AsyncGenerator<WorkspaceText, WorkspaceSummary> {
  const { files: listed, passedOver, isCut } = await listFiles(root, options);
  const { files, leftOut } = selectFiles(listed, options);
  const seen = new Map<string, string>();
  const summary: WorkspaceSummary = { files: 0, bytes: 0, passedOver, twins: [], leftOut, isCut };
  for (const { path } of files) {
    options.signal?.throwIfAborted();
    const read = await readWorkspaceFile(root, path);
    if ("reason" in read) {
      passedOver.push({ path, reason: read.reason });
      continue;
    }
    // A file may have grown since it was listed.
    if (summary.bytes + read.bytes.length > options.maxBytes) {
      summary.leftOut++;
      continue;
    }
    const digest = createHash("sha256").update(read.bytes).digest("base64");
    const of = seen.get(digest);
    if (of !== undefined) {
      summary.twins.push({ path, of });
      continue;
    }
    seen.set(digest, path);
    summary.files++;
    summary.bytes += read.bytes.length;
    yield { path, ...read };
  }
  return summary;
}

/** What was read and what was not, in a sentence or two for the user. */
export function summarySentence(summary: WorkspaceSummary): string {
  const { files, bytes, leftOut, isCut } = summary;
  const read = `${count(files, "file")} with ${megabytes(bytes)} of text`;
  const rest = isCut
    ? "the folder has more files than are looked at; name what is not needed in a .bltignore file"
    : leftOut > 0
      ? `${count(leftOut, "less relevant file")} did not fit`
      : null;
  return rest === null ? `${read}.` : `${read}; ${rest}.`;
}

function count(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
