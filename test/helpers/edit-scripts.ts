/** Random edit scripts as people make them: typing, deleting, replacing, pasting, undoing, several cursors, CRLF, Unicode. */
import fc from "fast-check";
import type { Edit } from "../../model-runtime/edit";

/** Where an edit is: a share of the text, or near a multiple of a size at which something begins anew. */
type Place = { share: number } | { border: number; multiple: number; offset: number };

export type Operation =
  | { kind: "type" | "paste"; at: Place; text: string }
  | { kind: "delete"; at: Place; count: number }
  | { kind: "replace"; at: Place; count: number; text: string }
  | { kind: "cursors"; at: Place[]; count: number; text: string }
  | { kind: "crlf"; at: Place }
  | { kind: "undo"; count: number };

const words = [
  "const ",
  "x",
  "=",
  "(",
  ")",
  "\n",
  "\r\n",
  "    ",
  "return ",
  "é",
  "→",
  "日本",
  "🙂",
  "'",
  "0",
  "items.",
  ";\n",
];
const text = (most: number) =>
  fc
    .array(fc.oneof(fc.constantFrom(...words), fc.string({ unit: "grapheme", maxLength: 4 })), { maxLength: most })
    .map((parts) => parts.join(""));

const place: fc.Arbitrary<Place> = fc.oneof(
  fc.record({ share: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1)) }),
  fc.record({
    border: fc.constantFrom(8, 64, 126, 128, 256),
    multiple: fc.integer({ min: 0, max: 20 }),
    offset: fc.integer({ min: -2, max: 2 }),
  }),
);
const count = fc.integer({ min: 0, max: 40 });

export const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("type" as const), at: place, text: text(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("paste" as const), at: place, text: text(120) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("delete" as const), at: place, count }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("replace" as const), at: place, count, text: text(6) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("cursors" as const),
      at: fc.array(place, { minLength: 2, maxLength: 5 }),
      count: fc.integer({ min: 0, max: 3 }),
      text: text(2),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crlf" as const), at: place }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("undo" as const), count: fc.integer({ min: 1, max: 3 }) }) },
);

/** A document that operations are applied to, with what is needed to undo them. */
export class EditedText {
  private readonly undos: Edit[][] = [];

  constructor(public bytes: Uint8Array) {}

  /** Applies an operation; the edits it consists of, in their order. */
  apply(operation: Operation): Edit[] {
    if (operation.kind === "undo") {
      const edits = this.undos.splice(-operation.count).reverse().flat();
      for (const edit of edits) this.change(edit);
      return edits;
    }
    const done: Edit[] = [];
    const undo: Edit[] = [];
    for (const edit of this.editsOf(operation)) {
      undo.unshift({
        start: edit.start,
        deleted: edit.inserted.length,
        inserted: this.bytes.slice(edit.start, edit.start + edit.deleted),
      });
      this.change(edit);
      done.push(edit);
    }
    this.undos.push(undo);
    return done;
  }

  private *editsOf(operation: Exclude<Operation, { kind: "undo" }>): Generator<Edit> {
    switch (operation.kind) {
      case "type":
      case "paste":
        yield this.edit(operation.at, 0, operation.text);
        break;
      case "delete":
        yield this.edit(operation.at, operation.count, "");
        break;
      case "replace":
        yield this.edit(operation.at, operation.count, operation.text);
        break;
      case "cursors":
        for (const at of operation.at) yield this.edit(at, operation.count, operation.text);
        break;
      case "crlf": {
        // The next line end becomes the other kind.
        const newline = this.bytes.indexOf(10, this.offset(operation.at));
        if (newline < 0) break;
        const isCrlf = newline > 0 && this.bytes[newline - 1] === 13;
        yield isCrlf
          ? { start: newline - 1, deleted: 1, inserted: new Uint8Array(0) }
          : { start: newline, deleted: 0, inserted: Uint8Array.of(13) };
      }
    }
  }

  private edit(at: Place, deleted: number, inserted: string): Edit {
    const start = this.offset(at);
    return {
      start,
      deleted: Math.min(deleted, this.bytes.length - start),
      inserted: new TextEncoder().encode(inserted),
    };
  }

  private offset(at: Place): number {
    const wanted = "share" in at ? Math.round(at.share * this.bytes.length) : at.border * at.multiple + at.offset;
    return Math.max(0, Math.min(this.bytes.length, wanted));
  }

  private change({ start, deleted, inserted }: Edit): void {
    const changed = new Uint8Array(this.bytes.length - deleted + inserted.length);
    changed.set(this.bytes.subarray(0, start));
    changed.set(inserted, start);
    changed.set(this.bytes.subarray(start + deleted), start + inserted.length);
    this.bytes = changed;
  }
}
