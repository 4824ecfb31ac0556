import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { setTimeout } from "node:timers/promises";
import fc from "fast-check";
import { createTerminal, jsonPieces, type Stream } from "../../../model-runtime/cli/terminal";

/** A stream that keeps what is written to it, and is full after each write when `isSlow`. */
class FakeStream extends EventEmitter {
  written = "";

  constructor(
    readonly isTTY: boolean,
    private readonly isSlow = false,
  ) {
    super();
  }

  write(text: string): boolean {
    this.written += text;
    return !this.isSlow;
  }
}

function terminalOn(stdout: FakeStream, stderr: FakeStream, environment: NodeJS.ProcessEnv = {}, signal?: AbortSignal) {
  const streams = [stdout, stderr] as unknown as [Stream, Stream];
  return createTerminal(...streams, signal ?? new AbortController().signal, environment);
}

describe("createTerminal", () => {
  it("colours terminals only, and only where colours are wanted", () => {
    const colours = (isTTY: boolean, environment: NodeJS.ProcessEnv) =>
      terminalOn(new FakeStream(isTTY), new FakeStream(true), environment).colours;
    assert.equal(colours(true, {}), "palette");
    assert.equal(colours(true, { COLORTERM: "truecolor" }), "full");
    assert.equal(colours(true, { NO_COLOR: "" }), "palette");
    assert.equal(colours(true, { NO_COLOR: "1", COLORTERM: "truecolor" }), "none");
    assert.equal(colours(true, { TERM: "dumb" }), "none");
    assert.equal(colours(false, {}), "none");
  });

  it("waits for a reader that is slow", async () => {
    const stdout = new FakeStream(false, true);
    let done = false;
    const written = terminalOn(stdout, new FakeStream(false))
      .write("a")
      .then(() => (done = true));
    await setTimeout(1);
    assert.deepEqual([stdout.written, done], ["a", false]);
    stdout.emit("drain");
    await written;
  });

  it("writes no more after an abort, whose reason it gives", async () => {
    const controller = new AbortController();
    const stdout = new FakeStream(false, true);
    const terminal = terminalOn(stdout, new FakeStream(false), {}, controller.signal);
    const waiting = assert.rejects(terminal.write("a"), /enough/);
    controller.abort(new Error("enough"));
    await waiting;
    await assert.rejects(terminal.write("b"), /enough/);
    assert.equal(stdout.written, "a");
  });

  async function progressOn(isTTY: boolean): Promise<string> {
    const stderr = new FakeStream(isTTY);
    const terminal = terminalOn(new FakeStream(false), stderr);
    const work = terminal.withProgress("Counting", async (update) => {
      update(1, 4);
      await setTimeout(510);
      update(2, 4);
      throw new Error("stop");
    });
    await assert.rejects(work, /stop/);
    return stderr.written;
  }

  it("shows progress in a terminal when it takes long, and clears it away", async () => {
    assert.equal(await progressOn(true), "\r\x1b[KCounting 50 %\r\x1b[K");
    assert.equal(await progressOn(false), "");
  });

  it("gives notices to everybody, remarks to terminals", () => {
    for (const [isTTY, expected] of [
      [true, "blt: a\nblt: b\n"],
      [false, "blt: a\n"],
    ] as const) {
      const stderr = new FakeStream(isTTY);
      const terminal = terminalOn(new FakeStream(false), stderr);
      terminal.notice("a");
      terminal.remark("b");
      assert.equal(stderr.written, expected);
    }
  });
});

describe("jsonPieces", () => {
  it("is the JSON of any value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.deepEqual(JSON.parse([...jsonPieces(value)].join("")), JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("writes typed arrays as lists, numbers of 32 bits so that they can be read back", () => {
    fc.assert(
      fc.property(fc.array(fc.float({ noNaN: true, noDefaultInfinity: true })), (values) => {
        const floats = Float32Array.from(values);
        const read = JSON.parse([...jsonPieces({ floats, rows: [floats] })].join(""));
        assert.deepEqual([Float32Array.from(read.floats), read.rows[0]], [floats.map((x) => x + 0), read.floats]);
      }),
    );
    assert.equal([...jsonPieces(Float32Array.of(0.1, Number.NaN))].join(""), "[0.100000001,null]");
  });

  it("cuts long lists", () => {
    const long = Uint8Array.from({ length: 200_000 }, (_, i) => i % 256);
    const pieces = [...jsonPieces({ long })];
    assert.ok(pieces.length > 5 && Math.max(...pieces.map((piece) => piece.length)) < 300_000);
    assert.deepEqual(Uint8Array.from(JSON.parse(pieces.join("")).long), long);
  });
});
