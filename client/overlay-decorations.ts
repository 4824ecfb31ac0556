/** Which ranges of a document get which decoration, from what the server says of its lines. Pure. */
import type { LineView } from "../server/overlay-protocol";

/** What the overlay shows. `mixed`: entropies with the workspace's counts, which no patch is cut by. */
export const overlayViews = ["patches", "entropy", "both", "mixed"] as const;
export type OverlayViewName = (typeof overlayViews)[number];

/**
 * `boundaryAtEnd`: where a patch starts at a line's end, which has no character to draw on. `boundaryBeside`: right behind
 * another boundary, since neighbours of one kind are drawn as one.
 */
export const decorationKinds = [
  ...([0, 1, 2, 3] as const).map((i) => `patch${i}` as const),
  ...([1, 2, 3, 4, 5, 6, 7] as const).map((i) => `level${i}` as const),
  "boundary",
  "boundaryBeside",
  "boundaryAtEnd",
  "inner",
] as const;
export type DecorationKind = (typeof decorationKinds)[number];

/** Columns `from` to `to` of a line. */
export interface ColumnRange {
  line: number;
  from: number;
  to: number;
}

export type Decorations = Record<DecorationKind, ColumnRange[]>;

/**
 * The decorations of lines. Colours of patches begin anew in each line, so that an edit changes those of its own line only;
 * a patch that comes from the line before has the last of the four.
 */
export function decorationsOf(lines: Iterable<ShownLine>, shown: OverlayViewName): Decorations {
  const found = Object.fromEntries(decorationKinds.map((kind) => [kind, []])) as unknown as Decorations;
  for (const each of lines) {
    const { line, view, text } = each;
    for (const from of view.inner) found.inner.push({ line, from, to: endOfCharacter(text, from) });
    if (shown === "patches") addPatches(found, each);
    else addLevels(found, each);
    if (shown === "entropy" || shown === "mixed") continue;
    addBoundaries(found, each);
  }
  return found;
}

/** A line of the document with what the server said of it. */
export interface ShownLine {
  line: number;
  view: LineView;
  text: string;
}

function addPatches(found: Decorations, { line, view, text }: ShownLine): void {
  // Before it is read, nothing is known of a line's patches.
  if (view.starts.length === 0 && view.levels.trim() === "") return;
  const starts = [...view.starts, ...view.inner.map((column) => endOfCharacter(text, column))]
    .filter((column) => column < text.length)
    .sort((a, b) => a - b);
  let colour = PATCH_COLOURS - 1;
  let from = 0;
  for (const to of [...starts, text.length]) {
    if (to > from) found[`patch${colour as 0 | 1 | 2 | 3}`].push({ line, from, to });
    colour = (colour + 1) % PATCH_COLOURS;
    from = to;
  }
}

type Boundary = "boundary" | "boundaryBeside";

function addBoundaries(found: Decorations, { line, view, text }: ShownLine): void {
  let kind: Boundary = "boundary";
  let end = -1;
  for (const from of view.starts) {
    if (from >= text.length) {
      found.boundaryAtEnd.push({ line, from: text.length, to: text.length });
      continue;
    }
    kind = kind === "boundary" && end === from ? "boundaryBeside" : "boundary";
    end = endOfCharacter(text, from);
    found[kind].push({ line, from, to: end });
  }
}

function addLevels(found: Decorations, { line, view, text }: ShownLine): void {
  const levels = view.levels.slice(0, text.length);
  for (let from = 0, to = 0; from < levels.length; from = to) {
    while (to < levels.length && levels[to] === levels[from]) to++;
    const level = Number(levels[from]);
    if (level > 0) found[`level${level as 1 | 2 | 3 | 4 | 5 | 6 | 7}`].push({ line, from, to });
  }
}

function endOfCharacter(text: string, column: number): number {
  return column + ((text.codePointAt(column) ?? 0) > 0xffff ? 2 : 1);
}

const PATCH_COLOURS = 4;
