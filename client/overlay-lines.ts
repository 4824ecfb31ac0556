/**
 * What the server said of a document's lines, kept in step with edits: lines move with their text, and what comes for an
 * earlier version finds its place. Pure; `overlay.ts` draws it.
 */
import type { LinesParams, LineView } from "../server/overlay-protocol";

/** A change of the text: lines `from` to `to` (the last one included) became `lines` lines. */
export interface LineChange {
  from: number;
  to: number;
  lines: number;
}

/** Versions back to which lines may come late. */
const KEPT_VERSIONS = 200;

export class OverlayLines {
  private lines: (LineView | undefined)[] = [];
  /** The changes that led to a version from the one before, oldest first. */
  private readonly history: { version: number; changes: readonly LineChange[] }[] = [];

  at(line: number): LineView | undefined {
    return this.lines[line];
  }

  /** The document has become this version by these changes, one after the other. Lines they touch are forgotten. */
  edited(version: number, changes: readonly LineChange[]): void {
    this.history.push({ version, changes });
    if (this.history.length > KEPT_VERSIONS) this.history.shift();
    for (const change of changes) this.lines = moved(this.lines, change);
  }

  /** Takes lines; returns whether any had its place in the text as it is now. */
  take({ version, parts }: LinesParams): boolean {
    const later = this.history.filter((each) => each.version > version);
    // Older than what is remembered: the server sends the lines again when they are in view.
    if (later.length === KEPT_VERSIONS && later.length === this.history.length) return false;
    const changes = later.flatMap((each) => each.changes);
    let taken = false;
    for (const part of parts)
      part.lines.forEach((view, i) => {
        const line = placeNow(part.line + i, changes);
        if (line === null) return;
        this.lines[line] = view;
        taken = true;
      });
    return taken;
  }

  clear(): void {
    this.lines = [];
  }
}

/** Where a line is after changes; null when one of them touched it. */
export function placeNow(line: number, changes: readonly LineChange[]): number | null {
  let place = line;
  for (const { from, to, lines } of changes) {
    if (place > to) place += lines - (to - from + 1);
    else if (place >= from) return null;
  }
  return place;
}

function moved(lines: (LineView | undefined)[], { from, to, lines: count }: LineChange): (LineView | undefined)[] {
  return [...lines.slice(0, from), ...new Array<undefined>(count), ...lines.slice(to + 1)];
}

/** A change of the editor as lines. */
export function lineChange(change: {
  range: { start: { line: number }; end: { line: number } };
  text: string;
}): LineChange {
  const newLines = change.text.match(/\r\n|\r|\n/g)?.length ?? 0;
  return { from: change.range.start.line, to: change.range.end.line, lines: newLines + 1 };
}
