/** What is to be said about a place in a text: the patcher's distribution there, the patch, and why a boundary stands. */
import type { PatchingConfig } from "../model-runtime/checkpoint/config";
import { characterLength } from "../model-runtime/display/characters";
import { character } from "../model-runtime/display/render-patches";
import { BOS, BYTE_OFFSET, EOS } from "../model-runtime/ids";
import { entropyOfLogits } from "../model-runtime/model/entropy";
import type { Patcher } from "../model-runtime/model/entropy-model";
import { describePatching, shortNumber } from "../model-runtime/patching/describe";
import type { PatchedBuffer } from "../model-runtime/patching/patched-buffer";
import { resetsContext, usesEntropy } from "../model-runtime/patching/patcher-rule";
import { type Mix, SEEN_BYTES } from "./mixed-entropies";
import type { ByteExplanation, Explanation } from "./overlay-protocol";
import type { ReadText } from "./read-text";

/** Likeliest bytes that are named. */
const NAMED = 5;
/** Longest text of a patch that is shown, bytes. */
const SHOWN = 80;

/** What is said of the character that holds byte `at`; the entropies around it are read when they are not known. */
export async function explain(
  text: ReadText,
  at: number,
  patcher: Omit<Patcher, "release"> | null,
  signal?: AbortSignal,
  mix: Mix | null = null,
): Promise<Explanation> {
  const { buffer } = text;
  const end = Math.min(buffer.length, at + 4);
  const head = buffer.bytes(at, end);
  const count = at >= buffer.length ? 1 : Math.max(1, characterLength(head, 0, head.length));
  const { from, to } = await patchAround(buffer, at, signal);
  const logits =
    usesEntropy(buffer.patching) && patcher !== null ? await logitsAt(buffer, at, count, patcher, signal) : null;
  const entropies = buffer.entropies(at - 1 < 0 ? 0 : at - 1, at + count);
  const before = at === 0 ? [Number.NaN, ...entropies] : [...entropies];
  const bytes = Array.from({ length: count }, (_, i): ByteExplanation => {
    const byte = at + i < buffer.length ? buffer.bytes(at + i, at + i + 1)[0] : null;
    const probabilities = logits === null ? null : softmax(logits[i]);
    return {
      offset: at + i,
      byte,
      entropy: Number.isNaN(before[i + 1]) ? null : before[i + 1],
      probability: byte === null || probabilities === null ? null : probabilities[byte + BYTE_OFFSET],
      likeliest: probabilities === null ? [] : likeliest(probabilities),
      mixed: logits === null || mix === null ? null : mixedAt(mix, buffer, at + i, logits[i]),
      startsPatch: buffer.startsPatch(at + i),
      reason: reasonAt(buffer, at + i, before[i + 1], before[i]),
    };
  });
  const shown = buffer.bytes(from, Math.min(to, from + SHOWN));
  const position = text.positionAt(at);
  return {
    character: position.character,
    length: at >= buffer.length ? 0 : count === 4 ? 2 : 1,
    bytes,
    patch: {
      from: text.positionAt(from),
      to: text.positionAt(to),
      text: marked(shown) + (to - from > SHOWN ? "…" : ""),
      bytes: to - from,
      index: buffer.patchStarts(0, from + 1).length,
    },
    rule: describePatching(buffer.patching),
  };
}

/** What the counts of the other documents make of a byte for which the entropy model has these `logits` [260]. */
function mixedAt(mix: Mix, buffer: PatchedBuffer, at: number, logits: Float32Array) {
  const stretch = { before: buffer.bytes(Math.max(0, at - SEEN_BYTES), at), bytes: new Uint8Array(0), logits };
  let mixed: NonNullable<ByteExplanation["mixed"]> = { entropy: 0, probability: null };
  mix.expect(stretch, (logProbs) => {
    const probability = at < buffer.length ? Math.exp(logProbs[buffer.bytes(at, at + 1)[0]]) : null;
    mixed = { entropy: entropyOfLogits(logProbs), probability };
  });
  return mixed;
}

/** Bytes as text, with marks for what is no character or not seen. */
function marked(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += Math.max(1, characterLength(bytes, at, bytes.length)))
    text += character(bytes, at, bytes.length);
  return text;
}

/** The patch that a byte lies in; the entropies to its end are read. */
async function patchAround(buffer: PatchedBuffer, at: number, signal?: AbortSignal) {
  let to = at + 1;
  for (let known = at; to <= buffer.length; to++) {
    if (to > known) {
      known = Math.min(buffer.length + 1, to + 64);
      await buffer.settle({ only: { from: Math.max(0, at - 1), to: known }, signal });
    }
    if (buffer.startsPatch(to)) break;
  }
  let from = Math.min(at, buffer.length);
  while (from > 0 && !buffer.startsPatch(from)) from--;
  return { from, to: Math.min(to, buffer.length) };
}

/** Logits of bytes `at` to `at + count` [count][260], by what the patcher can see before them. */
async function logitsAt(
  buffer: PatchedBuffer,
  at: number,
  count: number,
  patcher: Omit<Patcher, "release">,
  signal?: AbortSignal,
): Promise<Float32Array[]> {
  const seen = Math.max(0, at - Math.min(patcher.receptiveField, MOST_SEEN) - 1);
  const context = Array.from(buffer.bytes(seen, at), (byte) => byte + BYTE_OFFSET);
  const stream = patcher.begin(buffer.patching);
  const rows: Float32Array[] = [];
  // A text's beginning is BOS; a stream may begin anywhere else as well.
  let ids = seen === 0 ? [BOS, ...context] : context;
  for (let i = 0; i < count; i++) {
    await stream.next(ids, signal);
    rows.push(stream.logits);
    ids = [(buffer.bytes(at + i, at + i + 1)[0] ?? 0) + BYTE_OFFSET];
  }
  return rows;
}

/** Bytes read before a place by an entropy model that has no window. */
const MOST_SEEN = 4096;

function softmax(logits: Float32Array): Float64Array {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > max) max = logit;
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - max));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function likeliest(probabilities: Float64Array): ByteExplanation["likeliest"] {
  return Array.from(probabilities, (probability, id) => ({ id, probability }))
    .filter(({ id }) => id >= BYTE_OFFSET || id === EOS)
    .sort((a, b) => b.probability - a.probability)
    .slice(0, NAMED)
    .map(({ id, probability }) => ({ byte: id === EOS ? null : id - BYTE_OFFSET, probability }));
}

/** Why a boundary stands before byte `at`, or why none does, with the numbers that decided. */
function reasonAt(buffer: PatchedBuffer, at: number, entropy: number, previous: number): string {
  const { patching } = buffer;
  const starts = buffer.startsPatch(at);
  if (at === 0) return "The first byte of a text starts a patch.";
  const length = patchLengthBefore(buffer, at);
  if (starts && patching.maxPatchLength !== null && length >= patching.maxPatchLength)
    return `The patch before it has its longest length, ${patching.maxPatchLength} bytes.`;
  if (starts && patching.newlineReset && buffer.bytes(at - 1, at)[0] === NEWLINE) return "A newline stands before it.";
  if (!starts && length < patching.minPatchLength)
    return `The patch before it would have ${length} bytes, fewer than ${patching.minPatchLength}.`;
  if (!usesEntropy(patching)) return modeReason(patching, starts);
  const threshold = shortNumber(patching.threshold);
  if (patching.monotonic) {
    const rise = resetsContext(patching, (buffer.bytes(at - 1, at)[0] ?? 0) + BYTE_OFFSET)
      ? Number.NaN
      : entropy - previous;
    return `H rose by ${nats(rise)}, ${starts ? "more" : "not more"} than the threshold ${threshold}.`;
  }
  const compared = `H = ${nats(entropy)} is ${entropy > patching.threshold ? "above" : "not above"} the threshold ${threshold}`;
  if (patching.thresholdAdd === null) return `${compared}.`;
  const rose = `it rose by ${nats(entropy - previous)} (second threshold ${shortNumber(patching.thresholdAdd)})`;
  return `${compared}, and ${rose}.`;
}

function modeReason({ mode, patchSize }: PatchingConfig, starts: boolean): string {
  if (mode === "static") return `Patches have ${patchSize} bytes each.`;
  if (mode === "space") return starts ? "A word's end stands before it." : "It goes on with the word before it.";
  return "Every byte is a patch.";
}

/** Bytes from the last start before `at` to it. */
function patchLengthBefore(buffer: PatchedBuffer, at: number): number {
  let start = at - 1;
  while (start > 0 && !buffer.startsPatch(start)) start--;
  return at - start;
}

function nats(value: number): string {
  return Number.isNaN(value) ? "an unknown amount" : `${value.toFixed(3)} nats`;
}

const NEWLINE = 0x0a;
