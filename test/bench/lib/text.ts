/** Real code to run through the models: a source file that package-lock.json pins. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Bytes decoded after each prompt. */
const CONTINUATION = 192;

/**
 * A prompt of `bytes` bytes and what follows it in the file; another place in each round, the same for all subjects.
 * ASCII only, so that bytes and characters are the same.
 */
export function sampleText(root: string, round: number, bytes: number): { prompt: string; continuation: string } {
  const text = readFileSync(join(root, "node_modules/mocha/lib/runner.js"), "utf8").replace(/[^\n -~]/g, "-");
  const length = bytes + CONTINUATION;
  const start = (1500 + round * 2711) % (text.length - length);
  return { prompt: text.slice(start, start + bytes), continuation: text.slice(start + bytes, start + length) };
}
