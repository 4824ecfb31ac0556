/** What has been foreseen of a text, and what the latent is likely to be asked while that is verified (docs/lexicon.md, section 6). */
import type { Proposal } from "./reader";

export interface ForeseenPiece {
  piece: number;
  bytes: Uint8Array;
  /** That it comes, all before it being right. */
  chance: number;
}

export interface Foreseen {
  /** Length of the text, before the byte that comes first. */
  at: number;
  /** The pieces that the text and that byte most likely are; the last may end in `lead`. */
  path: Int32Array;
  lead: Uint8Array;
  pieces: readonly ForeseenPiece[];
  /** After the path and after each piece. */
  proposals: readonly (readonly Proposal[])[];
}

/** Whether a text goes on behind `before` and one byte as was foreseen there. */
export function isForeseen(foreseen: Foreseen, before: number, text: Uint8Array): boolean {
  if (foreseen.at !== before || text.length <= before + 1) return false;
  const written = bytesForeseen(foreseen);
  const end = text.subarray(before + 1);
  return end.length <= written.length && end.every((byte, i) => byte === written[i]);
}

/** A piece that ends early is asked after where it holds a tenth of what can still come; the draft layer is not quite sure. */
const ASKED_SHARE = 0.1;

/**
 * Paths off the foreseen one: where a piece ends inside the bytes that were foreseen and may have been what the latent means.
 * @param length bytes of the foreseen that are going to be read
 */
export function likelyQuestions(
  foreseen: Foreseen,
  bytesOf: readonly (Uint8Array | null)[],
  length: number,
): Int32Array[] {
  const paths: Int32Array[] = [];
  const { path, lead, pieces, proposals } = foreseen;
  const written = bytesForeseen(foreseen);
  let at = lead.length;
  for (let depth = 0; depth < pieces.length && at < length; at += pieces[depth].bytes.length, depth++) {
    for (const { piece, chance } of proposals[depth]) {
      const bytes = bytesOf[piece];
      if (bytes === null || piece === pieces[depth].piece || at + bytes.length > length) continue;
      if (!startsWith(written, at, bytes)) continue;
      const rest = proposals[depth].reduce((sum, each) => {
        const other = bytesOf[each.piece];
        return other !== null && startsWith(other, 0, bytes) ? sum + each.chance : sum;
      }, 0);
      if (chance < ASKED_SHARE * rest) continue;
      const branch = new Int32Array(path.length + depth + 1);
      branch.set(path);
      for (let i = 0; i < depth; i++) branch[path.length + i] = pieces[i].piece;
      branch[path.length + depth] = piece;
      paths.push(branch);
    }
  }
  return paths;
}

function bytesForeseen({ lead, pieces }: Foreseen): number[] {
  return [...lead, ...pieces.flatMap(({ bytes }) => Array.from(bytes))];
}

function startsWith(bytes: ArrayLike<number>, at: number, start: Uint8Array): boolean {
  if (at + start.length > bytes.length) return false;
  for (let i = 0; i < start.length; i++) if (bytes[at + i] !== start[i]) return false;
  return true;
}
