/**
 * Documents of a lexicon model as rows of T positions: each position holds a piece of the canonical cut and predicts the
 * next one. Several documents share a row; each sees itself only. A document longer than a row goes on in another one.
 */
import type { Lexicon } from "../lexicon/pieces";
import { HIDDEN_SCORE } from "../model/kv-cache";
import type { RotaryTable } from "../model/rotary";
import type { Feeds } from "../session";
import type { Document, Row } from "./trainee";

export interface PieceRow extends Row {
  /** [T] pieces that are read. */
  pieces: Int32Array;
  /** [T] pieces that are to be predicted; -1 where there is none. */
  targets: Int32Array;
  /** [T] where in the row the position's document begins. */
  starts: Int32Array;
  /** [T] weight of each prediction; 0 where there is none. */
  weights: Float32Array;
}

/** A run of pieces with the one that follows each. */
interface Segment {
  pieces: number[];
  targets: number[];
  weight: number;
}

/** Lays documents out, the longest stretches first, each in the first row with room. */
export function layOutRows(
  documents: readonly Document[],
  lexicon: Lexicon,
  { bosPiece, eosPiece }: { bosPiece: number; eosPiece: number },
  positions: number,
): PieceRow[] {
  const segments = documents.flatMap((document) => segmentsOf(document, lexicon, bosPiece, eosPiece, positions));
  segments.sort((a, b) => b.pieces.length - a.pieces.length);
  const rows: { row: PieceRow; used: number }[] = [];
  // Rows before this one are too full for the shortest of the segments seen so far.
  for (const segment of segments) {
    let place = rows.find(({ used }) => used + segment.pieces.length <= positions);
    if (place === undefined) {
      place = { row: emptyRow(positions, bosPiece), used: 0 };
      rows.push(place);
    }
    addSegment(place.row, place.used, segment, lexicon);
    place.used += segment.pieces.length;
  }
  return rows.map(({ row }) => row);
}

/** What the layers of a whole sequence read besides the hidden states. */
export function sequenceFeeds({ pieces, starts }: PieceRow, rotary: RotaryTable, headDim: number): Feeds {
  const count = pieces.length;
  const mask = new Float32Array(count * count).fill(HIDDEN_SCORE);
  const [cos, sin] = [new Float32Array((count * headDim) / 2), new Float32Array((count * headDim) / 2)];
  for (let position = 0; position < count; position++) {
    mask.fill(0, position * count + starts[position], position * count + position + 1);
    const turned = rotary.slice(position - starts[position], 1);
    cos.set(turned.cos, (position * headDim) / 2);
    sin.set(turned.sin, (position * headDim) / 2);
  }
  return {
    cos: { data: cos, shape: [count, headDim / 2] },
    sin: { data: sin, shape: [count, headDim / 2] },
    mask: { data: mask, shape: [count, count] },
  };
}

function segmentsOf(
  { bytes, weight }: Document,
  lexicon: Lexicon,
  bosPiece: number,
  eosPiece: number,
  positions: number,
): Segment[] {
  const { pieces } = lexicon.cut(bytes);
  const segments: Segment[] = [];
  for (let from = 0; from === 0 || from < pieces.length; from += positions) {
    const end = Math.min(pieces.length, from + positions);
    const targets = pieces.slice(from, end);
    // The last stretch ends with the document, as the model was taught that documents end.
    if (end === pieces.length && targets.length < positions) targets.push(eosPiece);
    const read = [bosPiece, ...pieces.slice(from, from + targets.length - 1)];
    segments.push({ pieces: read, targets, weight });
  }
  return segments;
}

function emptyRow(positions: number, bosPiece: number): PieceRow {
  return {
    bytes: 0,
    predictions: 0,
    weight: 0,
    pieces: new Int32Array(positions).fill(bosPiece),
    targets: new Int32Array(positions).fill(-1),
    // A position without a document sees itself.
    starts: Int32Array.from({ length: positions }, (_, position) => position),
    weights: new Float32Array(positions),
  };
}

function addSegment(row: PieceRow, at: number, { pieces, targets, weight }: Segment, lexicon: Lexicon): void {
  row.pieces.set(pieces, at);
  row.targets.set(targets, at);
  row.starts.fill(at, at, at + pieces.length);
  row.weights.fill(weight, at, at + pieces.length);
  row.predictions += targets.length;
  row.weight += weight * targets.length;
  for (const target of targets) row.bytes += lexicon.pieces[target]?.length ?? 0;
}
