/** The golden lexicons, a latent transformer made of a hash, and texts that are hard to cut. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { openLexiconCheckpoint, readVocabulary } from "../../../model-runtime/checkpoint/open-lexicon";
import type { ByteModel } from "../../../model-runtime/lexicon/byte-model";
import type { PieceLatent, Proposal } from "../../../model-runtime/lexicon/latent";
import type { LexiconRule } from "../../../model-runtime/lexicon/open-word";
import { Lexicon } from "../../../model-runtime/lexicon/pieces";
import { LexiconReader, type ReaderParts } from "../../../model-runtime/lexicon/reader";
import { SortedPieces } from "../../../model-runtime/lexicon/sorted-pieces";

const golden = join(__dirname, "../../golden/lexicon");

export function lexiconFolder(name: string): string {
  return join(golden, name);
}

/** The default model's folder; its tokenizer and weights are part of the repository. */
export const defaultFolder = join(__dirname, "../../../models/default");

export interface GoldenLexicon {
  cuts: Record<string, number[]>;
  cases: {
    name: string;
    rule: { refresh_threshold: number; fallback_share: number; word_limit: number };
    text: number[];
    lengths: {
      opened: [number, number];
      readings: [number[], number, number][];
      ended: [number[], number, number][];
      steps: number;
      positions: number;
    }[];
  }[];
}

export interface GoldenDefault {
  /** Text, its pieces, start of the open word after each length. */
  cuts: [number[], number[], number[]][];
  rule: { refresh_threshold: number; fallback_share: number; word_limit: number };
  text: number[];
  log_probability: number[];
  steps: number;
  positions: number;
}

export function goldenLexicon(name: string): GoldenLexicon {
  return JSON.parse(readFileSync(join(golden, name, "golden.json"), "utf8"));
}

export function goldenDefault(): GoldenDefault {
  return JSON.parse(readFileSync(join(golden, "default.json"), "utf8"));
}

export function loadLexicon(folder: string): Lexicon {
  return new Lexicon(readVocabulary(openLexiconCheckpoint(folder)));
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Fragments that join into words, split them, or are no UTF-8; single bytes of them too. */
const fragments = [
  ..."'s 'r 're 've 'll 'd ' r e v l return const value  ( ); == 4 42 ½ é 你好 naïve 😀 \u00a0 \u3000 \ufeff \u0085".split(
    " ",
  ),
  ...[" ", "  ", "    ", "\n", "\n\n", "\t", "\r\n", "\x04", "\x1f", "a", "x"],
].map(bytesOf);
const broken = [[0xff], [0xc3], [0xe4, 0xbd], [0xed, 0xa0], [0xf0, 0x9f], [0x80], [0xc0, 0x80], [0xf4, 0x90]].map(
  (bytes) => Uint8Array.from(bytes),
);

/** Texts of a few fragments, valid UTF-8 or not. */
export const hardTexts = fc
  .array(fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...fragments) }, fc.constantFrom(...broken)), {
    maxLength: 12,
  })
  .map((parts) => Uint8Array.from(parts.flatMap((part) => [...part])));

/** Of a text that grows and shrinks: append these bytes, or go back to this share of the length. */
export const edits = fc.array(fc.oneof(hardTexts, fc.double({ min: 0, max: 1, noNaN: true })), { maxLength: 6 });

/** The fallback of the golden files. */
export function goldenByteModel(): ByteModel {
  const after = (text: Uint8Array, length: number) => {
    const last = length > 0 ? text[length - 1] : 0;
    const weights = Float64Array.from({ length: 257 }, (_, symbol) => 1 + ((31 * last + 7 * symbol + length) % 13));
    const sum = weights.reduce((total, weight) => total + weight);
    return weights.map((weight) => weight / sum);
  };
  return {
    after: async (text, from, to) => Array.from({ length: to - from + 1 }, (_, i) => after(text, from + i)),
    truncate: () => undefined,
    fork: goldenByteModel,
  };
}

/** A latent whose masses are a function of the path; counts what it is asked. */
export class HashLatent implements PieceLatent {
  asked = 0;
  constructor(private readonly pieces = tinyTable.order.length) {}

  /** Paths that something was to be foreseen after. */
  readonly foreseenAfter: Int32Array[] = [];

  expect(): void {}

  async foresee(path: Int32Array, choose: (proposals: Proposal[]) => number | null): Promise<void> {
    this.foreseenAfter.push(path);
    while (choose([{ piece: 2, chance: 0.5 }]) !== null);
  }

  async ask(path: Int32Array, signal?: AbortSignal): Promise<Float64Array> {
    signal?.throwIfAborted();
    this.asked++;
    let hash = 17;
    for (const piece of path) hash = (Math.imul(hash, 31) + piece + 1) | 0;
    const masses = Float64Array.from({ length: this.pieces + 1 }, (_, place) => {
      const mixed = Math.imul(hash ^ Math.imul(place, 0x9e3779b1), 0x85ebca6b) >>> 0;
      return (mixed % 1000) ** 4 + 1;
    });
    const sum = masses.reduce((total, mass) => total + mass);
    return masses.map((mass) => mass / sum);
  }
}

const tiny = loadLexicon(lexiconFolder("plain"));
export const tinyLexicon = tiny;
const tinyTable = new SortedPieces(tiny.pieces);

/** What texts share that are read by `HashLatent` with the golden lexicon. */
export function hashParts(
  rule: Partial<LexiconRule> = {},
  maxPositions = 512,
  latent: PieceLatent = new HashLatent(),
): ReaderParts {
  return {
    lexicon: tiny,
    table: tinyTable,
    rule: { refreshThreshold: 0.2, fallbackShare: 1e-3, wordLimit: 8, ...rule },
    latent,
    bosPiece: 1,
    maxPositions,
  };
}

/** An empty text of `hashParts`. */
export function hashReader(...parts: Parameters<typeof hashParts>): LexiconReader {
  return new LexiconReader(hashParts(...parts), goldenByteModel());
}
