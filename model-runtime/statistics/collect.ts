/** Figures of many texts, collected one text at a time: memory grows with the number of files, not with their length. */
import { characterLength } from "../display/characters";
import { entropyLevel } from "../display/colours";
import { languageOf } from "./languages";
import type { Measured } from "./measure";

export interface FileStatistics {
  path: string;
  language: string;
  bytes: number;
  /** Sum of -log2 p of its bytes. */
  bits: number;
  patches: number;
}

/** A line that cost much more than the text around it. */
export interface SurprisingLine {
  path: string;
  /** Zero-based. */
  line: number;
  bytes: number;
  bits: number;
  /** Bits above what its bytes cost at the mean of its file: what lines are ranked by. */
  excess: number;
  /** The line without the space around it, cut to a length that can be shown. */
  text: string;
  /** [length of `text`] a digit each: `entropyLevel` of the nats that the character cost. */
  levels: string;
}

export interface Statistics {
  files: FileStatistics[];
  /** Bytes by entropy: `counts[i]` have from i * `width` to (i + 1) * `width` nats, the last ones more. */
  entropy: { width: number; counts: number[]; of: Measured["entropyOf"] };
  /** Patches by length: `counts[i]` have i + 1 bytes, the last ones more. */
  lengths: { counts: number[]; units: Measured["units"] };
  /** Most surprising first. */
  lines: SurprisingLine[];
}

/** A sum over files: of one language, or of all. */
export interface Group {
  language: string;
  files: number;
  bytes: number;
  bits: number;
  patches: number;
}

const ENTROPY_WIDTH = 0.25;
/** ln 260, the highest entropy there is, lies in the last one. */
const ENTROPY_COUNTS = 23;
const LENGTH_COUNTS = 24;
const LINES = 40;
const SHOWN_LENGTH = 160;

export class StatisticsCollector {
  private readonly files: FileStatistics[] = [];
  private readonly entropyCounts = new Array<number>(ENTROPY_COUNTS).fill(0);
  private readonly lengthCounts = new Array<number>(LENGTH_COUNTS).fill(0);
  private lines: SurprisingLine[] = [];
  private of: Measured["entropyOf"] = "model";
  private units: Measured["units"] = "patches";

  add(path: string, bytes: Uint8Array, measured: Measured): void {
    const { bits, entropies, starts } = measured;
    this.of = measured.entropyOf;
    this.units = measured.units;
    const total = bits.reduce((sum, each) => sum + each, 0);
    this.files.push({ path, language: languageOf(path), bytes: bytes.length, bits: total, patches: starts.length });
    for (const entropy of entropies)
      this.entropyCounts[Math.min(ENTROPY_COUNTS - 1, Math.floor(entropy / ENTROPY_WIDTH))]++;
    for (let patch = 0; patch < starts.length; patch++) {
      const length = (patch + 1 < starts.length ? starts[patch + 1] : bytes.length) - starts[patch];
      this.lengthCounts[Math.min(LENGTH_COUNTS, length) - 1]++;
    }
    this.lines = [...this.lines, ...surprisingLines(path, bytes, bits, LINES)].sort(byExcess).slice(0, LINES);
  }

  /** What was collected until now. */
  result(): Statistics {
    return {
      files: this.files.slice(),
      entropy: { width: ENTROPY_WIDTH, counts: this.entropyCounts.slice(), of: this.of },
      lengths: { counts: this.lengthCounts.slice(), units: this.units },
      lines: this.lines.slice(),
    };
  }
}

/** The sums by language, most bytes first. */
export function byLanguage(files: readonly FileStatistics[]): Group[] {
  const groups = new Map<string, Group>();
  for (const file of files) {
    const group = groups.get(file.language) ?? { language: file.language, files: 0, bytes: 0, bits: 0, patches: 0 };
    groups.set(file.language, group);
    group.files++;
    group.bytes += file.bytes;
    group.bits += file.bits;
    group.patches += file.patches;
  }
  return [...groups.values()].sort((a, b) => b.bytes - a.bytes);
}

/**
 * The lines with the most bits above the mean of their text, most first, at most `count`; only such as are above it.
 *
 * @param bits [n] of each byte
 */
export function surprisingLines(path: string, bytes: Uint8Array, bits: Float32Array, count: number): SurprisingLine[] {
  const mean = bits.reduce((sum, each) => sum + each, 0) / bytes.length;
  const found: { line: number; start: number; end: number; bits: number; excess: number }[] = [];
  for (let line = 0, start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? bytes.length : newline;
    // The line end itself belongs to the line: it says that nothing more came.
    const behind = Math.min(bytes.length, end + 1);
    let cost = 0;
    for (let i = start; i < behind; i++) cost += bits[i];
    const excess = cost - mean * (behind - start);
    if (excess > 0 && end > start) found.push({ line, start, end: behind, bits: cost, excess });
    start = behind;
  }
  return found
    .sort(byExcess)
    .slice(0, count)
    .map(({ line, start, end, bits: cost, excess }) => ({
      path,
      line,
      bytes: end - start,
      bits: cost,
      excess,
      ...shown(bytes.subarray(start, end), bits.subarray(start, end)),
    }));
}

const NEWLINE = 0x0a;

function byExcess(a: { excess: number }, b: { excess: number }): number {
  return b.excess - a.excess;
}

/** A line as text, with the level of each character. */
function shown(line: Uint8Array, bits: Float32Array): Pick<SurprisingLine, "text" | "levels"> {
  let text = "";
  let levels = "";
  let characters = 0;
  let at = 0;
  while (at < line.length && isSpace(line[at])) at++;
  let end = line.length;
  while (end > at && isSpace(line[end - 1])) end--;
  for (; at < end && characters < SHOWN_LENGTH; characters++) {
    const length = Math.max(1, characterLength(line, at, end));
    const character = decoder.decode(line.subarray(at, at + length));
    const cost = bits.subarray(at, at + length).reduce((sum, each) => sum + each, 0);
    text += character;
    levels += String(entropyLevel(cost * Math.LN2)).repeat(character.length);
    at += length;
  }
  return at < end ? { text: `${text}…`, levels: `${levels}0` } : { text, levels };
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
