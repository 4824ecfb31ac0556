import assert from "node:assert/strict";
import { lineChange, OverlayLines } from "../../client/overlay-lines";
import { entropyLevel } from "../../model-runtime/display/colours";
import { createRandom } from "../../model-runtime/generation/random";
import { encode } from "../../model-runtime/ids";
import type { Blt } from "../../model-runtime/model/blt";
import { entropiesOf } from "../../model-runtime/model/entropy-model";
import type { Mix } from "../../server/mixed-entropies";
import type { Continuation, Explanation, Reading } from "../../server/overlay-protocol";
import { ReadText } from "../../server/read-text";
import type { Answer, FromReadings, Question } from "../../server/readings-protocol";
import { TextReadings } from "../../server/text-readings";
import { goldenDirectory, loadGolden } from "../helpers/golden";

const uri = "file:///a.ts";
const content = "for (const ß of 語) {\r\n\treturn 1;\r\n}\r\n// 🙂\r\n".repeat(12);

describe("TextReadings", () => {
  let blt: Blt;
  before(async () => {
    blt = await loadGolden("k2");
  });
  after(() => blt.release());

  /** Readings whose messages are kept, and told to those who wait for one. */
  function setup(whenIdle: () => Promise<void> = async () => undefined, mix: Mix | null = null) {
    const messages: FromReadings[] = [];
    const listeners = new Set<() => void>();
    const readings = new TextReadings({
      model: blt,
      folder: goldenDirectory("k2"),
      whenIdle,
      mixFor: () => mix,
      send(message) {
        messages.push(message);
        for (const listener of [...listeners]) listener();
      },
    });
    const message = async <T extends FromReadings>(isWanted: (message: FromReadings) => message is T): Promise<T> => {
      for (;;) {
        const found = messages.find(isWanted);
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => {
          const listener = () => {
            listeners.delete(listener);
            resolve();
          };
          listeners.add(listener);
        });
      }
    };
    let id = 0;
    const ask = async (question: Question): Promise<Answer> => {
      const mine = ++id;
      readings.handle({ type: "ask", id: mine, question });
      const { answer } = await message(
        (each): each is FromReadings & { type: "answer" } => each.type === "answer" && each.id === mine,
      );
      return answer;
    };
    const settled = (version: number) =>
      message(
        (each): each is FromReadings & { type: "settled" } => each.type === "settled" && each.version === version,
      );
    return { readings, messages, ask, settled, message };
  }

  async function freshLines(text: string) {
    const fresh = new ReadText(text, 1, blt.patching, blt.patcher);
    await fresh.buffer.settle();
    return fresh.views({ from: 0, to: fresh.lineCount });
  }

  it("sends the lines in view, and after edits only what has changed of them", async () => {
    const { readings, messages, settled } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 8, to: 20 }], isMixed: false });
    await settled(1);
    const shown = new OverlayLines();
    for (const message of messages) if (message.type === "lines") shown.take(message);
    const lines = await freshLines(content);
    for (let line = 0; line < lines.length; line++)
      assert.deepEqual(shown.at(line), line >= 8 && line < 20 ? lines[line] : undefined, `line ${line}`);

    messages.length = 0;
    const range = { start: { line: 16, character: 4 }, end: { line: 16, character: 5 } };
    const change = { range, text: "xy" };
    readings.handle({ type: "changeText", uri, changes: [change], version: 2 });
    await settled(2);
    const sent = messages.flatMap((message) => (message.type === "lines" ? message.parts : []));
    assert.ok(sent.length > 0);
    assert.ok(sent.every(({ line, lines: part }) => line >= 16 && line + part.length <= 20));
  });

  it("says the same as a fresh reading after any edits, whenever its messages come", async () => {
    const random = createRandom(7);
    const { readings, messages, settled } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: 1000 }], isMixed: false });
    const shown = new OverlayLines();
    let lines = content.split("\r\n");
    for (let version = 2; version < 30; version++) {
      const line = Math.floor(random() * lines.length);
      const to = Math.min(lines.length - 1, line + Math.floor(random() * 3));
      const character = Math.floor(random() * (lines[line].length + 1));
      const text = ["a", "", "\r\n", "語\r\nb"][Math.floor(random() * 4)];
      const change = { range: { start: { line, character }, end: { line: to, character: lines[to].length } }, text };
      readings.handle({ type: "changeText", uri, changes: [change], version });
      shown.edited(version, [lineChange(change)]);
      const middle = (lines[line].slice(0, character) + text).split("\r\n");
      lines = [...lines.slice(0, line), ...middle, ...lines.slice(to + 1)];
      // As if the editor's lines came into view anew, and its messages were slow.
      readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: lines.length }], isMixed: false });
      if (version % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
      for (const message of messages.splice(0)) if (message.type === "lines") shown.take(message);
    }
    await settled(29);
    for (const message of messages) if (message.type === "lines") shown.take(message);
    const fresh = await freshLines(lines.join("\r\n"));
    assert.deepEqual(
      fresh.map((_, line) => shown.at(line)),
      fresh,
    );
  });

  it("sends the lines that were read for a question", async () => {
    const { readings, messages, ask, settled } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: 1000 }], isMixed: false });
    await Promise.all([
      ask({ kind: "read", uri, patienceMs: Number.POSITIVE_INFINITY, isMixed: false }),
      ask({ kind: "explain", uri, position: { line: 30, character: 3 } }),
    ]);
    await settled(1);
    const shown = new OverlayLines();
    for (const message of messages) if (message.type === "lines") shown.take(message);
    const fresh = await freshLines(content);
    assert.deepEqual(
      fresh.map((_, line) => shown.at(line)),
      fresh,
    );
  });

  it("shows the entropies with the workspace's counts of the lines in view, follows edits, and shows the others again", async () => {
    // Certain of everything behind "r", undecided elsewhere.
    const levels = { certain: entropyLevel(0), undecided: entropyLevel(Math.log(257)) };
    const mix: Mix = {
      version: 1,
      expect({ before, bytes }, take) {
        for (let i = 0; i <= bytes.length; i++) {
          const last = i === 0 ? before.at(-1) : bytes[i - 1];
          const isCertain = last === "r".charCodeAt(0);
          take(
            new Float64Array(257).fill(isCertain ? -1e9 : -Math.log(257)).fill(isCertain ? 0 : -Math.log(257), 0, 1),
          );
        }
      },
    };
    const { readings, messages, ask, message } = setup(undefined, mix);
    const shown = new OverlayLines();
    const expected = (text: string) =>
      Array.from(text, (_, i) => (text[i - 1] === "r" ? levels.certain : levels.undecided)).join("");
    const seen = async (line: number, text: string) => {
      await message((each): each is FromReadings & { type: "lines" } => {
        if (each.type === "lines") shown.take(each);
        return shown.at(line)?.levels === expected(text);
      });
    };
    const ranges = [{ from: 1, to: 3 }];
    readings.handle({ type: "openText", uri, text: "for\nreturn 1;\nfor r\nrr\n", version: 1 });
    readings.handle({ type: "watchText", uri, ranges, isMixed: true });
    await seen(1, "return 1;\n");
    await seen(2, "for r\n");
    assert.equal(shown.at(3), undefined);
    const range = { start: { line: 1, character: 0 }, end: { line: 1, character: 0 } };
    readings.handle({ type: "changeText", uri, changes: [{ range, text: "rr " }], version: 2 });
    shown.edited(2, [lineChange({ range, text: "rr " })]);
    messages.length = 0;
    await seen(1, "rr return 1;\n");
    const reading = (await ask({ kind: "read", uri, patienceMs: Number.POSITIVE_INFINITY, isMixed: true })) as Reading;
    const mixed = float32Of(reading.mixed!);
    assert.ok(reading.isComplete && mixed.length === reading.wholeBytes);
    [..."for\nrr return 1;\nfor r\nrr\n"].forEach((_, i, all) => {
      assert.ok(Math.abs(mixed[i] - (all[i - 1] === "r" ? 0 : Math.log(257))) < 1e-5);
    });
    // Those of the entropy model come back.
    messages.length = 0;
    readings.handle({ type: "watchText", uri, ranges, isMixed: false });
    const fresh = await freshLines("for\nrr return 1;\nfor r\nrr\n");
    await message((each): each is FromReadings & { type: "lines" } => {
      if (each.type === "lines") shown.take(each);
      return shown.at(1)?.levels === fresh[1].levels && shown.at(2)?.levels === fresh[2].levels;
    });
    const alone = (await ask({ kind: "read", uri, patienceMs: 0, isMixed: false })) as Reading;
    assert.equal(alone.mixed, null);
  });

  it("lets suggestions go first with entropies that have the workspace's counts", async () => {
    let letIdle: () => void = () => undefined;
    const idle = new Promise<void>((resolve) => {
      letIdle = resolve;
    });
    let asked = 0;
    const mix: Mix = {
      version: 1,
      expect({ bytes }, take) {
        asked++;
        for (let i = 0; i <= bytes.length; i++) take(new Float64Array(257).fill(-Math.log(257)));
      },
    };
    const { readings, settled, message } = setup(() => idle, mix);
    readings.handle({ type: "openText", uri, text: "let a;\n", version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: 2 }], isMixed: true });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(asked, 0);
    letIdle();
    await message((each): each is FromReadings & { type: "lines" } => each.type === "lines" && asked > 0);
    await settled(1);
  });

  it("shows the entropy model's own entropies when no workspace is counted", async () => {
    const { readings, messages, settled, ask } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: 1000 }], isMixed: true });
    await settled(1);
    const shown = new OverlayLines();
    for (const message of messages) if (message.type === "lines") shown.take(message);
    assert.deepEqual(shown.at(3), (await freshLines(content))[3]);
    assert.equal(((await ask({ kind: "read", uri, patienceMs: 0, isMixed: true })) as Reading).mixed, null);
  });

  it("lets suggestions go first with what is out of view", async () => {
    let letIdle: () => void = () => undefined;
    const idle = new Promise<void>((resolve) => {
      letIdle = resolve;
    });
    const { readings, messages, settled, message } = setup(() => idle);
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: 2 }], isMixed: false });
    await message(
      (each): each is FromReadings & { type: "lines" } =>
        each.type === "lines" && !/ /.test(each.parts[0].lines[0].levels),
    );
    assert.ok(!messages.some(({ type }) => type === "settled"));
    letIdle();
    await settled(1);
  });

  it("explains a byte by the entropy model's own numbers", async () => {
    const { readings, ask } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    const text = content.replaceAll("\r\n", "\n");
    const ids = encode(Buffer.from(text));
    const entropies = await entropiesOf(blt.patcher!, ids, { patching: blt.patching });
    const explanation = (await ask({ kind: "explain", uri, position: { line: 4, character: 11 } })) as Explanation;
    const at = Buffer.byteLength(text.split("\n").slice(0, 4).join("\n")) + 1 + 11;
    assert.deepEqual([explanation.character, explanation.length], [11, 1]);
    assert.deepEqual(
      explanation.bytes.map(({ offset, byte }) => [offset, byte]),
      [
        [at, 0xc3],
        [at + 1, 0x9f],
      ],
    );
    for (const { offset, entropy, likeliest, probability, startsPatch, reason } of explanation.bytes) {
      assert.ok(Math.abs(entropy! - entropies[offset]) < 1e-4);
      assert.equal(startsPatch, entropies[offset] > blt.patching.threshold);
      assert.match(reason, startsPatch ? /^H = .* is above the threshold 1\.2182\.$/ : /is not above/);
      assert.equal(likeliest.length, 5);
      assert.ok(likeliest.every((each, i) => i === 0 || each.probability <= likeliest[i - 1].probability));
      assert.ok(probability! <= likeliest[0].probability && probability! > 0);
    }
    const { patch } = explanation;
    assert.deepEqual([patch.text, patch.bytes], ["\\xC3", 1]);
  });

  it("explains the first byte and the end of the text", async () => {
    const { readings, ask } = setup();
    readings.handle({ type: "openText", uri, text: "ab", version: 1 });
    const first = (await ask({ kind: "explain", uri, position: { line: 0, character: 0 } })) as Explanation;
    assert.match(first.bytes[0].reason, /first byte/);
    const end = (await ask({ kind: "explain", uri, position: { line: 0, character: 2 } })) as Explanation;
    assert.deepEqual([end.length, end.bytes.length, end.bytes[0].byte, end.bytes[0].likeliest.length], [0, 1, null, 5]);
  });

  it("says what the model would have written", async () => {
    const { readings, ask } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    const { text } = (await ask({ kind: "continue", uri, position: { line: 20, character: 3 } })) as Continuation;
    assert.ok(text.length > 0 && !text.includes("\n", 1));
  });

  it("gives a whole text with its entropies", async () => {
    const { readings, ask } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 3 });
    const reading = (await ask({ kind: "read", uri, patienceMs: Number.POSITIVE_INFINITY, isMixed: false })) as Reading;
    const bytes = Buffer.from(content.replaceAll("\r\n", "\n"));
    assert.deepEqual([reading.version, reading.text, reading.wholeBytes], [3, bytes.toString(), bytes.length]);
    const entropies = float32Of(reading.entropies);
    const expected = await entropiesOf(blt.patcher!, encode(bytes), { patching: blt.patching });
    assert.equal(entropies.length, bytes.length);
    assert.ok(entropies.every((entropy, i) => Math.abs(entropy - expected[i]) < 1e-4));
    assert.ok(entropyLevel(entropies[3]) >= 0 && reading.isComplete);
  });

  it("gives what is known of a text when the patience is at its end, and goes on from there", async () => {
    const { readings, ask } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    const none = (await ask({ kind: "read", uri, patienceMs: 0, isMixed: false })) as Reading;
    const known = float32Of(none.entropies);
    assert.ok(!none.isComplete && known.length === none.wholeBytes && Number.isNaN(known[known.length - 1]));
    await ask({ kind: "read", uri, patienceMs: Number.POSITIVE_INFINITY, isMixed: false });
    const all = (await ask({ kind: "read", uri, patienceMs: 0, isMixed: false })) as Reading;
    assert.ok(all.isComplete && float32Of(all.entropies).every((entropy) => entropy >= 0));
  });

  it("answers that a text was closed, and that a question was taken back", async () => {
    const { readings, ask } = setup();
    const answer = await ask({ kind: "read", uri, patienceMs: Number.POSITIVE_INFINITY, isMixed: false });
    assert.deepEqual(answer, { problem: "The document was closed." });
    const bytes = Buffer.from(content);
    const measuring = ask({ kind: "measure", bytes });
    readings.handle({ type: "withdraw", id: 2 });
    assert.deepEqual(await measuring, { problem: "The request was taken back." });
  });

  it("answers questions anew, and only then, when the model was changed meanwhile", async () => {
    const { readings, ask, messages } = setup();
    const bytes = Buffer.from(content);
    const alone = await ask({ kind: "measure", bytes });
    const measuring = ask({ kind: "measure", bytes });
    let isChanging = true;
    const changing = readings.whileResting(async () => {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(messages.filter(({ type }) => type === "answer").length, 1);
      isChanging = false;
    });
    const late = ask({ kind: "measure", bytes });
    assert.deepEqual(await measuring, alone);
    assert.deepEqual(await late, alone);
    assert.ok(!isChanging);
    await changing;
  });

  it("ends its work when it is closed", async () => {
    const { readings, messages } = setup();
    readings.handle({ type: "openText", uri, text: content, version: 1 });
    readings.handle({ type: "watchText", uri, ranges: [{ from: 0, to: 2 }], isMixed: false });
    await readings.close();
    const count = messages.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(messages.length, count);
  });

  it("says in a sentence why a model cannot read a text", () => {
    const model = {
      ...blt,
      patching: blt.patching,
      patcher: null,
      createSequence: () => blt.createSequence(),
      release: async () => undefined,
    };
    const messages: FromReadings[] = [];
    const options = {
      model,
      folder: "x",
      whenIdle: async () => undefined,
      send: (message: FromReadings) => void messages.push(message),
    };
    new TextReadings(options).handle({ type: "openText", uri, text: "a", version: 1 });
    const [message] = messages;
    assert.match(message.type === "unreadable" ? message.problem : "", /no entropy model/);
  });
});

function float32Of(base64: string): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
}
