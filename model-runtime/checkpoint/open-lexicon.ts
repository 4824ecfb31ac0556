/** A folder that holds a checkpoint with a lexicon -> where its weights lie, and its vocabulary. */
import { join, resolve } from "node:path";
import { UserError } from "../errors";
import { VOCABULARY_SIZE } from "../ids";
import type { Vocabulary } from "../lexicon/pieces";
import type { TensorLocation, Weights } from "./checkpoint";
import { addBlocks, addPatcher } from "./expected-tensors";
import { findTensor } from "./find-tensor";
import { asFields, describe, section } from "./json-fields";
import { type DrafterConfig, type LexiconConfig, parseLexiconConfig } from "./lexicon-config";
import { listTensors, readJson } from "./weight-files";

export interface LexiconCheckpoint extends Weights {
  config: LexiconConfig;
}

/** [pieces, hidden]: the latent's input at a piece, and the rows of the readout. */
export const pieceEmbeddingName = "model.lexicon.embedding.weight";

/** [hidden, hidden], where there is one: applied to the normed states before they meet the rows of the readout. */
export const readoutMatrixName = "model.lexicon.readout";

/** Prefix of the draft layer's tensors. */
export const drafterPrefix = "model.lexicon.drafter.";

/** Opens a checkpoint with a lexicon without reading its weights; throws a `UserError` that names what does not fit. */
export function openLexiconCheckpoint(directory: string): LexiconCheckpoint {
  const root = resolve(directory);
  const where = join(root, "config.json");
  const stored = listTensors(root);
  const shapes = new Map([...stored].map(([name, { shape }]) => [name, shape]));
  const config = parseLexiconConfig(readJson(where), where, shapes);
  const tensors = new Map<string, TensorLocation>();
  for (const [name, shape] of expectedLexiconTensors(config))
    for (const location of findTensor(name, shape, stored, root, config.blockForm))
      tensors.set(location.name, location);
  return { directory: root, config, tensors };
}

/** Shape of every tensor that a configuration implies. */
export function expectedLexiconTensors({
  latent,
  patcher,
  drafter,
  pieces,
  readoutMatrix,
}: LexiconConfig): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  shapes.set(pieceEmbeddingName, [pieces, latent.hiddenSize]);
  shapes.set("model.lexicon.norm.weight", [latent.hiddenSize]);
  if (readoutMatrix) shapes.set(`${readoutMatrixName}.weight`, [latent.hiddenSize, latent.hiddenSize]);
  addBlocks(shapes, "model.global_transformer.", latent);
  if (patcher !== null) addPatcher(shapes, patcher, VOCABULARY_SIZE);
  if (drafter !== null) addDrafter(shapes, drafter);
  return shapes;
}

function addDrafter(shapes: Map<string, number[]>, drafter: DrafterConfig): void {
  const width = drafter.hiddenSize;
  for (const norm of ["state_norm", "piece_norm", "norm"]) shapes.set(`${drafterPrefix}${norm}.weight`, [width]);
  shapes.set(`${drafterPrefix}input_proj.weight`, [width, 2 * width]);
  const inner = drafter.innerLayers.length;
  for (let i = 0; i < inner; i++) shapes.set(`${drafterPrefix}inner_norms.${i}.weight`, [width]);
  if (inner > 0) shapes.set(`${drafterPrefix}inner_proj.weight`, [width, inner * width]);
  shapes.set(`${drafterPrefix}pieces`, [drafter.pieces]);
  addBlocks(shapes, drafterPrefix, drafter);
}

/** Byte strings and merges of a checkpoint's lexicon; throws a `UserError` where the file does not fit the table. */
export function readVocabulary({ directory, config }: LexiconCheckpoint): Vocabulary {
  const where = join(directory, config.tokenizerFile);
  const model = section(asFields(readJson(where), where), "model");
  const vocabulary = model === null ? null : section(model, "vocab");
  if (model === null || vocabulary === null || !Array.isArray(model.values.merges))
    throw new UserError(`${where} holds no byte-level BPE ("model" with "vocab" and "merges"); fetch the file again.`);
  const entries = Object.entries(vocabulary.values);
  const pieces = readPieces(entries, where, config);
  const pieceOf = new Map(entries as [string, number][]);
  const merges = model.values.merges.map((merge): [number, number, number] => {
    const [left, right] = partsOf(merge);
    const ids = [pieceOf.get(left), pieceOf.get(right), pieceOf.get(left + right)];
    for (const id of ids)
      if (id === undefined || pieces[id] === null)
        throw new UserError(`Merge ${describe(merge)} in ${where} is not one of two pieces into a third.`);
    return ids as [number, number, number];
  });
  return { pieces, merges };
}

/** A merge's two pieces: written with a space between them, or as a pair. There are 50,000, so they are cut without a list. */
function partsOf(merge: unknown): [string, string] {
  if (typeof merge !== "string") return Array.isArray(merge) ? (merge as [string, string]) : ["", ""];
  const space = merge.indexOf(" ");
  return space < 0 ? ["", ""] : [merge.slice(0, space), merge.slice(space + 1)];
}

function readPieces(entries: [string, unknown][], where: string, config: LexiconConfig): (Uint8Array | null)[] {
  const pieces: (Uint8Array | null)[] = new Array(entries.length).fill(null);
  const special = new Set(config.specialPieces);
  const byteOf = bytesOfSymbols();
  if (entries.length !== config.pieces)
    throw new UserError(
      `There are ${entries.length} pieces in ${where}, but ${config.pieces} rows in the embedding table; one of the two is another model's.`,
    );
  const seen = new Uint8Array(entries.length);
  for (const [symbols, piece] of entries) {
    if (!(Number.isInteger(piece) && (piece as number) >= 0 && (piece as number) < entries.length))
      throw new UserError(`Piece ${describe(symbols)} in ${where} has the number ${describe(piece)}.`);
    const id = piece as number;
    if (seen[id]++ > 0) throw new UserError(`Two pieces in ${where} have the number ${id}.`);
    if (special.has(id)) continue;
    const bytes = new Uint8Array(symbols.length);
    for (let i = 0; i < bytes.length; i++) {
      const byte = byteOf[symbols.charCodeAt(i)];
      if (byte === undefined)
        throw new UserError(`Piece ${describe(symbols)} in ${where} is not in the alphabet of byte-level BPE.`);
      bytes[i] = byte;
    }
    if (bytes.length === 0) throw new UserError(`Piece ${id} in ${where} has no bytes, but is no special piece.`);
    pieces[id] = bytes;
  }
  return pieces;
}

/** By character: the byte that GPT-2's alphabet writes so, itself where printable in Latin-1, else U+0100 upwards in order. */
function bytesOfSymbols(): number[] {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const byteOf: number[] = [];
  for (let byte = 0, other = 0x100; byte < 256; byte++) byteOf[isPrintable(byte) ? byte : other++] = byte;
  return byteOf;
}
