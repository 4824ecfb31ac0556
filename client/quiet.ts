/** When an automatic request is not worth sending, from what only the editor knows. */

/** The editor at the moment of a request. */
export interface EditorMoment {
  /** Number of cursors. */
  cursors: number;
  /** Whether anything is selected. */
  hasSelection: boolean;
  lastChange: ChangeKind | null;
}

/** The last change of the document: text came in, text only went away, or it was undone or redone. */
export type ChangeKind = "insertion" | "deletion" | "undo";

/** One sentence why nothing is suggested now; null when a suggestion may be asked for. */
export function reasonForQuiet({ cursors, hasSelection, lastChange }: EditorMoment): string | null {
  if (cursors > 1) return "There are several cursors.";
  if (hasSelection) return "Text is selected.";
  if (lastChange === "deletion") return "Text was just deleted; suggestions come back with the next character.";
  if (lastChange === "undo")
    return "A change was just undone or redone; suggestions come back with the next character.";
  return null;
}

/** The kind of a change event's contents: replaced text counts as an insertion; null when nothing changed. */
export function changeKind(changes: readonly { text: string }[], undone: boolean): ChangeKind | null {
  if (changes.length === 0) return null;
  if (undone) return "undo";
  return changes.some((change) => change.text !== "") ? "insertion" : "deletion";
}
