/**
 * Where the tokens of well-known tokenizers start in a text, in bytes: cl100k (GPT-4) and o200k (GPT-4o), whose vocabularies
 * come with the package, and any byte-level BPE of a Hugging Face `tokenizer.json` that the user has, such as Llama 3's,
 * whose licence does not let us pass it on.
 */
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import cl100kRanks from "gpt-tokenizer/bpeRanks/cl100k_base";
import o200kRanks from "gpt-tokenizer/bpeRanks/o200k_base";
import { encode as encodeCl100k } from "gpt-tokenizer/encoding/cl100k_base";
import { encode as encodeO200k } from "gpt-tokenizer/encoding/o200k_base";
import { UserError } from "../model-runtime/errors";

/** Cuts a text: byte offsets at which its tokens start. */
export type TokenCutter = (text: string) => Uint32Array;

/** What stands for special tokens in a text is text. */
const asText = { disallowedSpecial: new Set<string>() };

export const cl100k: TokenCutter = (text) => startsOf(encodeCl100k(text, asText), (id) => byteLength(cl100kRanks[id]));

export const o200k: TokenCutter = (text) => startsOf(encodeO200k(text, asText), (id) => byteLength(o200kRanks[id]));

/** The tokenizer in a file; a `UserError` when it is none, or one whose tokens are no bytes of the text. */
export function tokenizerOfFile(path: string): TokenCutter {
  const tokenizer = readTokenizer(path);
  return (text) => {
    const { tokens } = tokenizer.encode(text, { add_special_tokens: false });
    const lengths = tokens.map((token) => Array.from(token).length);
    // A byte-level token has one character a byte; a special one, found in the text, stands for itself.
    const sum = lengths.reduce((total, length) => total + length, 0);
    if (sum !== Buffer.byteLength(text))
      throw new UserError(
        `${path} is a tokenizer that changes the text or knows no bytes; choose one of byte-level BPE.`,
      );
    return startsOf(lengths, (length) => length);
  };
}

function readTokenizer(path: string): Tokenizer {
  let json: { model?: { type?: unknown } };
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : (error as Error).message;
    throw new UserError(`The tokenizer ${path} cannot be read (${reason}); choose a tokenizer.json.`);
  }
  if (json?.model?.type !== "BPE")
    throw new UserError(`${path} holds no byte-level BPE tokenizer; choose a tokenizer.json that does.`);
  return new Tokenizer(json, {});
}

function startsOf<T>(tokens: readonly T[], length: (token: T) => number): Uint32Array {
  const starts = new Uint32Array(tokens.length);
  let at = 0;
  for (let i = 0; i < tokens.length; i++) {
    starts[i] = at;
    at += length(tokens[i]);
  }
  return starts;
}

/** Of a token that is a text, or bytes where it is none. */
function byteLength(token: string | readonly number[]): number {
  return typeof token === "string" ? Buffer.byteLength(token) : token.length;
}
