/** What the LSP thread and the model's thread say to each other about the texts of the workspace. Paths are absolute. */
import { fileURLToPath } from "node:url";
import type { FilesExclude } from "../model-runtime/workspace/ignore-rules";

/** The document at hand, without the part that the model reads as context; it is no part of the workspace meanwhile. */
export interface DocumentAround {
  path: string;
  /** Its text before the context. */
  before: string;
  /** Its text behind the cursor's line, and the zero-based line where that begins. */
  after: string;
  afterLine: number;
}

export type ToWorkspace =
  /** Which folders are counted; none at all when the setting is off. `near`: files the user works on, first the most important. */
  | { type: "workspace"; isOn: boolean; folders: string[]; filesExclude: FilesExclude; near: string[] }
  /** The text of an open document that is not at hand; null when it was closed, and the disk counts again. */
  | { type: "workspaceText"; path: string; text: string | null }
  /** Files or folders that were saved, made, removed or renamed. */
  | { type: "filesChanged"; paths: string[] }
  /** Whether a text that was shown stands in the workspace. */
  | { type: "quote"; id: number; text: string };

/** Where a text stands. */
export interface Quote {
  /** Relative to the workspace's folder where it is inside of one. */
  path: string;
  /** One-based. */
  line: number;
}

export type FromWorkspace =
  /** `notice`: what the user should know, such as that not everything fits; else null. */
  | { type: "counted"; files: number; bytes: number; sentence: string; notice: string | null }
  | { type: "quoted"; id: number; quote: Quote | null };

/** The path of a file's address; null for what is no file. */
export function pathOf(uri: string): string | null {
  try {
    return uri.startsWith("file:") ? fileURLToPath(uri) : null;
  } catch (error) {
    // An address that is none on this system.
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** What a document is called in the counts: its path, or its address when it is no file. */
export function documentName(uri: string): string {
  return pathOf(uri) ?? uri;
}
