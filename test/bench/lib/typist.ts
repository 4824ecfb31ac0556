/** Someone who types real code into an editor that is connected to the real server. */
import { CancellationTokenSource } from "vscode-languageserver/node";
import { createRandom, type Random } from "../../../model-runtime/generation/random";
import { CURSOR_NOTIFICATION } from "../../../server/protocol";
import type { LspClient } from "../../server/lsp-client";

/** `jump`: the cursor was set somewhere and a suggestion asked for at once; `look`: a second later. */
export const actions = ["append", "newline", "jump", "look", "paste", "undo"] as const;
export type Action = (typeof actions)[number];

/** A request after an action, from `didChange` on. */
export interface Answer {
  action: Action;
  ms: number;
  /** Whether there was an item; null when the next key came before the answer. */
  hasItem: boolean | null;
}

/** How long a person looks at a new place before typing there, ms. */
const LOOK_MS = 1000;

export interface Pace {
  /** Median time between two keys, ms; null waits for each answer. */
  keyMs: number | null;
}

export class Typist {
  readonly answers: Answer[] = [];
  private readonly random: Random;
  private places = 0;

  constructor(
    private readonly client: LspClient,
    private readonly uri: string,
    private text: string,
    seed: number,
  ) {
    this.random = createRandom(seed);
  }

  /** Asks at `offset` without an edit: what happens when a document was just opened. */
  async ask(action: Action, offset: number): Promise<Answer> {
    const answer = await this.request(action, offset, performance.now(), null);
    this.answers.push(answer);
    return answer;
  }

  /** Goes to a random place, deletes three lines there and types them again: key by key, then pasted, undone, pasted. */
  async retype({ keyMs }: Pace): Promise<void> {
    const { start, lines } = this.place();
    const indents = lines.map((line) => /^\s*/.exec(line)![0]);
    await this.edit(null, start, start + lines.join("\n").length, indents[0], keyMs);
    let cursor = start + indents[0].length;
    // As our own client does when the cursor moves.
    await this.client.connection.sendNotification(CURSOR_NOTIFICATION, {
      textDocument: { uri: this.uri },
      position: this.positionOf(cursor),
    });
    const isLooking = this.places++ % 2 === 1;
    if (isLooking) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    await this.edit(isLooking ? "look" : "jump", cursor, cursor, "", keyMs);
    for (const [index, line] of lines.slice(0, 2).entries()) {
      for (const key of line.slice(indents[index].length)) {
        await this.edit("append", cursor, cursor, key, keyMs);
        cursor += key.length;
      }
      const newline = `\n${indents[index + 1]}`;
      await this.edit("newline", cursor, cursor, newline, keyMs);
      cursor += newline.length;
    }
    const rest = lines[2].slice(indents[2].length);
    await this.edit("paste", cursor, cursor, rest, keyMs);
    await this.edit("undo", cursor, cursor + rest.length, "", keyMs);
    await this.edit("paste", cursor, cursor, rest, keyMs);
  }

  /** Three lines with text, somewhere. */
  private place(): { start: number; lines: string[] } {
    for (;;) {
      const start = this.text.lastIndexOf("\n", Math.floor(this.random() * this.text.length)) + 1;
      const lines = this.text.slice(start).split("\n", 3);
      if (lines.length === 3 && lines.every((line) => line.trim().length >= 8 && line.length < 100)) {
        return { start, lines };
      }
    }
  }

  /** Replaces `start` to `end`; asks for a suggestion behind it when it is an action. */
  private async edit(
    action: Action | null,
    start: number,
    end: number,
    inserted: string,
    keyMs: number | null,
  ): Promise<void> {
    const began = performance.now();
    if (start !== end || inserted !== "") {
      const range = { start: this.positionOf(start), end: this.positionOf(end) };
      void this.client.change(this.uri, [{ range, text: inserted }]);
      this.text = this.text.slice(0, start) + inserted + this.text.slice(end);
    }
    if (action === null) return;
    const answer = await this.request(action, start + inserted.length, began, keyMs);
    this.answers.push(answer);
  }

  private async request(action: Action, offset: number, began: number, keyMs: number | null): Promise<Answer> {
    const { line, character } = this.positionOf(offset);
    const source = new CancellationTokenSource();
    let isOvertaken = false;
    const nextKey =
      keyMs === null
        ? null
        : new Promise<void>((resolve) => setTimeout(resolve, this.interval(keyMs))).then(() => {
            isOvertaken = true;
            source.cancel();
          });
    const items = await this.client.complete(this.uri, line, character, { token: source.token });
    const answer = { action, ms: performance.now() - began, hasItem: isOvertaken ? null : items.length > 0 };
    await nextKey;
    return answer;
  }

  /** Time to the next key, ms: log-normal, as intervals of typists are, and bounded. */
  private interval(medianMs: number): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.random())) * Math.cos(2 * Math.PI * this.random());
    return Math.min(1000, Math.max(40, medianMs * Math.exp(0.5 * normal)));
  }

  private positionOf(offset: number): { line: number; character: number } {
    const before = this.text.slice(0, offset);
    const lineStart = before.lastIndexOf("\n") + 1;
    let line = 0;
    for (let at = before.indexOf("\n"); at >= 0; at = before.indexOf("\n", at + 1)) line++;
    return { line, character: offset - lineStart };
  }
}
