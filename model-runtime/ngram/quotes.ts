/** Whether a text stands verbatim in the workspace, and where. */
import { Candidates, LONGEST_CONTEXT } from "./chains";
import { type Place, WORKSPACE_PLACES, type WorkspaceIndex } from "./workspace-index";

/** Shorter texts are no quotation, whatever files hold them: bytes that are no white space. */
export const SHORTEST_QUOTE = 16;

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
