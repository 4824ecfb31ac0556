import assert from "node:assert/strict";
import { Documents } from "../../server/documents";
import type { Job, JobResult } from "../../server/model-host";
import { defaultSettings, type Settings } from "../../server/protocol";
import { ReadAhead } from "../../server/read-ahead";

const uri = "file:///a.ts";
const line = (index: number) => `const value${index} = compute(${index});\n`;
const longText = Array.from({ length: 300 }, (_, index) => line(index)).join("");

/** A context that is being read; the test says when it is. */
class Reading implements Job {
  readonly done: Promise<JobResult>;
  isAborted = false;
  private resolve!: (result: JobResult) => void;

  constructor(readonly text: string) {
    this.done = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }
  ends(end: JobResult["end"] = "read"): Promise<void> {
    this.resolve({ end, ...this.soFar() });
    return settled();
  }
  soFar() {
    return { bytes: new Uint8Array(0), logProbs: new Float64Array(0) };
  }
  abort(): void {
    this.isAborted = true;
    void this.ends("aborted");
  }
}

function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

function open(text: string, settings: Partial<Settings> = {}) {
  const documents = new Documents();
  documents.didOpen({ textDocument: { uri, languageId: "typescript", version: 1, text } });
  const readings: Reading[] = [];
  const state = { isIdle: true };
  const readAhead = new ReadAhead({
    documents,
    host: {
      state: { kind: "ready", device: "cpu", kernel: null, notice: null, adapter: null, adapterNotice: null },
      read(context) {
        readings.push(new Reading(Buffer.from(context).toString()));
        return readings[readings.length - 1];
      },
    },
    settings: () => ({ ...defaultSettings, ...settings }),
    isIdle: () => state.isIdle,
    pauseMs: 0,
  });
  const document = documents.get(uri)!;
  const at = async (offset: number) => {
    readAhead.cursorAt(uri, document.text!.positionAt(offset));
    await settled();
  };
  return { documents, document, readAhead, readings, state, at };
}

describe("read-ahead", () => {
  it("reads the text before the cursor, and a short one as a whole", async () => {
    const { at, readings } = open("const a = 1;\nconst b = 2;\n");
    await at(13);
    await readings[0].ends();
    assert.deepEqual(
      readings.map(({ text }) => text),
      ["const a = 1;\n"],
    );
  });
  it("reads a quick window first, then a roomier one that takes its place", async () => {
    const { at, readings, document } = open(longText, { contextBytes: 4096 });
    await at(longText.length);
    assert.ok(readings[0].text.length <= 1024 && readings[0].text.length > 900);
    const quick = document.window!.start;
    await readings[0].ends();
    assert.equal(document.window!.start, quick);
    assert.ok(readings[1].text.length <= 1536 && readings[1].text.length > 1400);
    assert.ok(readings[1].text.endsWith(readings[0].text));
    await readings[1].ends();
    assert.equal(document.window!.start, longText.length - readings[1].text.length);
    assert.equal(readings.length, 2);
  });
  it("goes on with a window that was begun after an interruption and an edit", async () => {
    const { at, readings, documents, document, readAhead } = open(longText);
    await at(longText.length);
    await readings[0].ends();
    readAhead.interrupt();
    await settled();
    assert.equal(readings[1].isAborted, true);
    const end = document.text!.positionAt(longText.length);
    documents.didChange({
      textDocument: { uri, version: 2 },
      contentChanges: [{ range: { start: end, end }, text: "const more = 1;" }],
    });
    await at(longText.length + 15);
    await readings[2].ends();
    assert.equal(readings[3].text, `${readings[1].text}const more = 1;`);
  });
  it("puts parts of other open files that are about the same before a roomier window", async () => {
    const { at, readings, documents, document } = open(`${longText}drawCircle(radius, colour`);
    const other = "export function drawCircle(radius: number, colour: string): void {}\n";
    documents.didOpen({ textDocument: { uri: "file:///b.ts", languageId: "typescript", version: 1, text: other } });
    documents.didOpen({ textDocument: { uri: "file:///.env", languageId: "typescript", version: 1, text: other } });
    await at(document.text!.getText().length);
    await readings[0].ends();
    await settled();
    assert.ok(readings[1].text.startsWith(`${other}\n\nconst value`));
    assert.equal(readings[1].text.split("drawCircle").length, 3);
    await readings[1].ends();
    assert.equal(document.window!.front, `${other}\n\n`);
  });
  it("looks at other files again when another one was opened, and only then", async () => {
    const { at, readings, documents, document } = open("drawCircle(radius, colour");
    await at(10);
    await readings[0].ends();
    await at(11);
    await readings[1].ends();
    assert.equal(readings.length, 2);
    const other = "export function drawCircle(radius: number, colour: string): void {}\n";
    documents.didOpen({ textDocument: { uri: "file:///b.ts", languageId: "typescript", version: 1, text: other } });
    await at(25);
    await readings[2].ends();
    await settled();
    assert.equal(readings[3].text, `${other}\n\ndrawCircle(radius, colour`);
    await readings[3].ends();
    assert.equal(document.window!.start, 0);
    await at(25);
    await readings[4].ends();
    assert.equal(readings.length, 5);
  });
  it("waits while the model works for a request", async () => {
    const { at, readings, state } = open("const a = 1;\n");
    state.isIdle = false;
    await at(5);
    assert.equal(readings.length, 0);
    state.isIdle = true;
    await settled();
    assert.equal(readings.length, 1);
  });
  it("does nothing when interrupted before the pause is over", async () => {
    const { readAhead, readings } = open("const a = 1;\n");
    readAhead.cursorAt(uri, { line: 0, character: 3 });
    readAhead.interrupt();
    await settled();
    assert.equal(readings.length, 0);
  });
  it("leaves documents alone that are not completed", async () => {
    for (const [text, settings] of [
      ["a\0b", {}],
      ["text", { enable: false }],
      ["text", { languages: { typescript: false } }],
    ] as const) {
      const { at, readings } = open(text, settings);
      await at(text.length);
      assert.equal(readings.length, 0);
    }
  });
  it("leaves unknown documents alone", async () => {
    const { readAhead, readings } = open("a");
    readAhead.cursorAt("file:///other", { line: 0, character: 0 });
    await settled();
    assert.equal(readings.length, 0);
  });
});
