/** Text taken from the workspace: what follows the longest context, as a draft; and whether a text stands there verbatim. */
import { Candidates, LONGEST_CONTEXT } from "./chains";
import { type Place, WORKSPACE_PLACES, type WorkspaceIndex } from "./workspace-index";

/** A context shorter than this says too little about what follows, bytes. */
const SHORTEST_DRAFT_CONTEXT = 8;
/** Shorter texts are no quotation, whatever files hold them: bytes that are no white space. */
export const SHORTEST_QUOTE = 16;

/** What followed the longest context, and how long that is. */
export interface Draft {
  bytes: Uint8Array;
  /** Bytes of common context, at most LONGEST_CONTEXT. */
  context: number;
}

/**
 * The bytes that follow the end of `text` in the workspace, where its context is longest, and of several places the latest; null
 * when no context of at least eight bytes is known.
 */
export function continuation(index: WorkspaceIndex, text: Uint8Array, maxBytes: number): Draft | null {
  const candidates = placesBehind(index, text);
  let best = -1;
  for (let i = 0; i < candidates.count; i++) {
    if (candidates.lengths[i] >= (best < 0 ? SHORTEST_DRAFT_CONTEXT : candidates.lengths[best] + 1)) best = i;
  }
  const place = best < 0 ? null : index.placeOf(candidates.addresses[best]);
  if (place === null) return null;
  const bytes = index.readRange(place.path, place.offset, place.offset + maxBytes)!;
  return bytes.length === 0 ? null : { bytes, context: candidates.lengths[best] };
}

/**
 * Where all of `text` stands in a file of the workspace; null when it stands nowhere or is too short to be a quotation. Of
 * many places only the latest are looked at.
 */
export function quotedFrom(index: WorkspaceIndex, text: Uint8Array): Place | null {
  if (text.reduce((sum, byte) => sum + (byte > 32 ? 1 : 0), 0) < SHORTEST_QUOTE) return null;
  // Found by its end, then compared as a whole.
  const candidates = placesBehind(index, text);
  for (let i = 0; i < candidates.count; i++) {
    if (candidates.lengths[i] < Math.min(text.length, LONGEST_CONTEXT)) continue;
    const end = index.placeOf(candidates.addresses[i]);
    if (end === null || end.offset < text.length) continue;
    const offset = end.offset - text.length;
    const there = index.readRange(end.path, offset, end.offset)!;
    if (there.every((byte, at) => byte === text[at])) return { path: end.path, offset };
  }
  return null;
}

function placesBehind(index: WorkspaceIndex, text: Uint8Array): Candidates {
  const context = new Uint8Array(LONGEST_CONTEXT);
  const tail = text.subarray(-LONGEST_CONTEXT);
  context.set(tail, LONGEST_CONTEXT - tail.length);
  const candidates = new Candidates(WORKSPACE_PLACES);
  index.collect(context, LONGEST_CONTEXT, candidates);
  return candidates;
}
