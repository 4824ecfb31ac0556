/** What the explorer's page and the extension say to each other. */
import type { Reading, Tokenized } from "../../server/overlay-protocol";

/** A place in the text, as in the editor: zero-based, UTF-16 code units. */
export interface Place {
  line: number;
  character: number;
}

export type ToPage =
  /** A text; `name` is the file's, `limit` the most bytes that are shown. */
  | { type: "reading"; name: string; limit: number; reading: Reading }
  | { type: "tokens"; tokens: Tokenized[] }
  /** What is selected in the editor. */
  | { type: "selection"; from: Place; to: Place }
  /** There is nothing to show, and why. */
  | { type: "problem"; name: string; sentence: string };

export const exportFormats = ["png", "svg", "csv", "json"] as const;
export type ExportFormat = (typeof exportFormats)[number];

export type FromPage =
  /** `isMixed`: whether the entropies with the workspace's counts are shown too. */
  | { type: "ready" | "mix"; isMixed: boolean }
  | { type: "select"; from: Place; to: Place }
  /** `data`: the file's text, or base64 of it for `png`. */
  | { type: "export"; format: ExportFormat; data: string }
  /** The user wants to name a `tokenizer.json` of their own. */
  | { type: "chooseTokenizer" };
