/**
 * The contexts of requests while someone works on real files: code is typed again with slips that are taken back, the
 * cursor goes elsewhere, files change, edits are undone and done again, suggestions are accepted whole.
 */

import { readCompletionMarks } from "../../../model-runtime/checkpoint/completion-marks";
import { createRandom, type Random } from "../../../model-runtime/generation/random";
import { contextAt } from "../../../server/context";
import { Documents } from "../../../server/documents";
import { bytesOf } from "../../../server/model-text";
import { defaultSettings } from "../../../server/protocol";

const marks = readCompletionMarks("models/default");

export interface TraceRequest {
  action: "type" | "correct" | "move" | "switch" | "undo" | "accept";
  /** What the model reads, without BOS. */
  context: Uint8Array;
}

/** A text for `KeptSequences` that no model reads. */
export class CountedText {
  private readonly ids: number[] = [];

  get length(): number {
    return this.ids.length;
  }
  get byteLength(): number {
    return 8 * this.ids.length;
  }
  idAt(position: number): number {
    return this.ids[position];
  }
  append(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) this.ids.push(ids[i]);
  }
  truncate(length: number): void {
    this.ids.length = length;
  }
  fork(): CountedText {
    const copy = new CountedText();
    copy.append(this.ids);
    return copy;
  }
}

export class TypingTrace {
  private readonly documents = new Documents();
  private readonly random: Random;
  private version = 1;

  constructor(
    private readonly texts: string[],
    seed: number,
  ) {
    this.random = createRandom(seed);
    texts.forEach((text, i) => {
      this.documents.didOpen({ textDocument: { uri: uriOf(i), languageId: "javascript", version: 1, text } });
    });
  }

  /** At least `count` requests. */
  *requests(count: number): Generator<TraceRequest> {
    let made = 0;
    for (let file = 0; made < count; ) {
      const isSwitch = this.random() < 0.2;
      if (isSwitch) file = (file + 1) % this.texts.length;
      for (const request of this.retype(file, isSwitch ? "switch" : "move")) {
        made++;
        yield request;
      }
    }
  }

  /** Deletes some lines somewhere and types them again. */
  private *retype(file: number, arrival: "move" | "switch"): Generator<TraceRequest> {
    const text = this.texts[file];
    const start = text.lastIndexOf("\n", Math.floor(this.random() * text.length)) + 1;
    const lines = text.slice(start).split("\n", 4).join("\n");
    if (lines.trim().length < 20) return;
    this.edit(file, start, lines.length, "");
    yield this.request(arrival, file, start);
    for (let at = 0; at < lines.length; ) {
      const chance = this.random();
      const cursor = start + at;
      if (chance < 0.04) {
        this.edit(file, cursor, 0, "x");
        yield this.request("type", file, cursor + 1);
        this.edit(file, cursor, 1, "");
        yield this.request("correct", file, cursor);
      } else if (chance < 0.07) {
        // A suggestion is accepted: the rest of the line at once.
        const rest = lines.slice(at).split("\n", 1)[0];
        if (rest === "") continue;
        this.edit(file, cursor, 0, rest);
        at += rest.length;
        yield this.request("accept", file, cursor + rest.length);
      } else if (chance < 0.08 && at > 20) {
        this.edit(file, cursor - 20, 20, "");
        yield this.request("undo", file, cursor - 20);
        this.edit(file, cursor - 20, 0, lines.slice(at - 20, at));
        yield this.request("undo", file, cursor);
      } else {
        this.edit(file, cursor, 0, lines[at]);
        at++;
        yield this.request("type", file, cursor + 1);
      }
    }
  }

  private request(action: TraceRequest["action"], file: number, offset: number): TraceRequest {
    const document = this.documents.get(uriOf(file))!;
    const context = contextAt(document, { from: offset, to: offset, selected: "" }, defaultSettings.contextBytes);
    return { action, context: bytesOf(context, marks) };
  }

  private edit(file: number, offset: number, deleted: number, text: string): void {
    const uri = uriOf(file);
    const document = this.documents.get(uri)!.text!;
    const range = { start: document.positionAt(offset), end: document.positionAt(offset + deleted) };
    this.documents.didChange({ textDocument: { uri, version: ++this.version }, contentChanges: [{ range, text }] });
  }
}

function uriOf(file: number): string {
  return `file:///${file}.js`;
}
