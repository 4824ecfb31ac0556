/** The thread of the tokenizers: their vocabularies take a moment to load, and a long text a moment to cut. */
import { parentPort } from "node:worker_threads";
import { UserError } from "../model-runtime/errors";
import { base64 } from "./base64";
import type { Tokenized } from "./overlay-protocol";
import type { TokenizeJob, TokenizeResult } from "./tokenizer-host";
import { cl100k, o200k, type TokenCutter, tokenizerOfFile } from "./tokenizers";

const port = parentPort!;
/** The last file's tokenizer. */
let ofFile: { path: string; cut: TokenCutter } | null = null;

port.on("message", ({ id, text, tokenizerFile }: TokenizeJob) => {
  const results = [cut("cl100k", () => cl100k(text)), cut("o200k", () => o200k(text))];
  if (tokenizerFile !== null) results.push(cut("llama3", () => cutterOf(tokenizerFile)(text)));
  port.postMessage({ id, results } satisfies TokenizeResult);
});

function cut(id: Tokenized["id"], starts: () => Uint32Array): Tokenized {
  try {
    return { id, starts: base64(starts()), problem: null };
  } catch (error) {
    if (error instanceof UserError) return { id, starts: null, problem: error.message };
    // A library that stumbles over a file or a text: the other columns are shown all the same.
    return { id, starts: null, problem: `This tokenizer failed: ${(error as Error).message}.` };
  }
}

function cutterOf(path: string): TokenCutter {
  if (ofFile?.path !== path) ofFile = { path, cut: tokenizerOfFile(path) };
  return ofFile.cut;
}
