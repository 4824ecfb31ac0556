import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PatchingConfig } from "../../../model-runtime/checkpoint/config";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { generate } from "../../../model-runtime/generation/generate";
import { BOS, BYTE_OFFSET, EOS, VOCABULARY_SIZE } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import { deviceLoopProblem } from "../../../model-runtime/model/device-loop";
import type { BltSequence } from "../../../model-runtime/model/sequence";
import type { TextState } from "../../../model-runtime/model/text-state";
import { testDevice } from "../../helpers/device";
import { type GoldenCase, goldenCheckpoint, goldenNames } from "../../helpers/golden";
import { randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";

const TOLERANCE = 1e-4;
const prompt = [BOS, ...Buffer.from("def f(x):\n  return x + 1\n\n")].map((byte, i) =>
  i === 0 ? BOS : byte + BYTE_OFFSET,
);

function load(name: string, golden: Partial<GoldenCase> = {}): Promise<Blt> {
  return Blt.load(goldenCheckpoint(name, golden), { device: testDevice, threads: 1, deviceLoop: true });
}

/** The likeliest byte; EOS is left out, so that texts go on. */
function likeliest(logits: Float32Array): number {
  let best = BYTE_OFFSET;
  for (let id = BYTE_OFFSET; id < VOCABULARY_SIZE; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(actual[i] - expected[i]) <= TOLERANCE) && !(Number.isNaN(actual[i]) && Number.isNaN(expected[i])))
      assert.fail(`${what}[${i}]: ${actual[i]} instead of ${expected[i]}`);
}

/** Appends the same ids to both and compares the logits after each; `choose` says what comes next. */
async function writeBoth(
  looped: TextState,
  stepped: BltSequence,
  bytes: number,
  choose: (logits: Float32Array, i: number) => number,
): Promise<void> {
  let logits = await stepped.append(prompt);
  assertClose(await looped.append(prompt), logits, "prompt");
  for (let i = 0; i < bytes; i++) {
    const id = choose(logits, i);
    logits = await stepped.append([id]);
    assertClose(await looped.append([id]), logits, `byte ${i}`);
    assert.equal(looped.length, stepped.length);
    assert.deepEqual(looped.patchStarts, stepped.patchStarts);
  }
}

const modes: [string, Partial<PatchingConfig>][] = [
  ["entropy", {}],
  ["entropy, at most 3 bytes", { maxPatchLength: 3 }],
  ["entropy, at least 3 bytes", { minPatchLength: 3 }],
  ["monotonic", { monotonic: true, threshold: 0.3 }],
  ["threshold_add", { thresholdAdd: 0.2 }],
  ["space", { mode: "space" }],
  ["static", { mode: "static", patchSize: 4 }],
  ["byte", { mode: "byte" }],
];

describe("device loop", () => {
  randomShapes.forEach(([title, shape], seed) => {
    it(`random weights, ${title}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "blt-loop-"));
      await writeRandomCheckpoint(folder, shape, seed);
      for (const semantics of ["meta", "hf"] as const) {
        const checkpoint = openCheckpoint(folder, { semantics });
        assert.equal(deviceLoopProblem(checkpoint, checkpoint.config.patching), null);
        const model = await Blt.load(checkpoint, { device: testDevice, threads: 1, deviceLoop: true });
        const [looped, stepped] = [model.createText(), model.createSequence()];
        await writeBoth(looped, stepped, 40, likeliest);
        // Neither one patch for all nor one for each byte would say anything about where patches end.
        const patches = stepped.patchStarts.length;
        assert.ok(patches > 5 && patches < stepped.length - 5, `${patches} patches of ${stepped.length} ids`);
        await model.release();
      }
      rmSync(folder, { recursive: true });
    });
  });

  for (const name of goldenNames)
    for (const semantics of ["meta", "hf"] as const)
      describe(`${name}, ${semantics}: the bytes of the steps one by one, and the same logits`, () => {
        let model: Blt;
        before(async () => {
          model = await load(name, { semantics });
        });
        after(() => model.release());
        for (const [mode, changes] of modes)
          it(mode, async () => {
            const patching = { ...model.config.patching, ...changes };
            assert.equal(deviceLoopProblem(model.checkpoint, patching), null);
            await writeBoth(model.createText(patching), model.createSequence(patching), 40, likeliest);
          });
      });

  it("wrong guesses are taken back, windows that slide and chunks hold", async () => {
    const model = await load("k2", { patcher_window: 8, local_window: 6 });
    const looped = model.createText();
    // Every fifth byte is another than the likeliest.
    await writeBoth(looped, model.createSequence(), 60, (logits, i) =>
      i % 5 === 4 ? BYTE_OFFSET + 97 + i : likeliest(logits),
    );
    await model.release();
  });

  it("a fork and a truncation hold what was asked for, not what was guessed", async () => {
    const model = await load("k4");
    const [looped, stepped] = [model.createText(), model.createSequence()];
    await writeBoth(looped, stepped, 3, likeliest);
    const fork = looped.fork();
    const other = BYTE_OFFSET + 120;
    const expected = await stepped.append([other]);
    assertClose(await fork.append([other]), expected, "fork");
    looped.truncate(10);
    stepped.truncate(10);
    assertClose(await looped.append([other, other]), await stepped.append([other, other]), "truncated");
    await model.release();
  });

  it("generation writes the same bytes and stops where it would have stopped", async () => {
    const model = await load("k2");
    const write = async (text: TextState) => {
      const bytes: number[] = [];
      for await (const { byte } of generate(text, prompt, { temperature: 0, maxBytes: 30 })) bytes.push(byte);
      return { bytes, length: text.length };
    };
    assert.deepEqual(await write(model.createText()), await write(model.createSequence()));
    await model.release();
  });

  it("an aborted run leaves the text as it was", async () => {
    const model = await load("k2");
    const text = model.createText();
    await text.append(prompt);
    const { length } = text;
    await assert.rejects(text.append([100], { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
    assert.equal(text.length, length);
    await model.release();
  });

  it("goes step by step after an EOS, whose document is over, and where the text is short", async () => {
    const model = await load("k2");
    const [looped, stepped] = [model.createText(), model.createSequence()];
    for (const id of [BOS, 100, 101, EOS, 102, 103, 104])
      assertClose(await looped.append([id]), await stepped.append([id]), `id ${id}`);
    await model.release();
  });

  it("names what it cannot do, and the text is then one of steps", async () => {
    const model = await load("k2");
    const { patching } = model.config;
    assert.match(deviceLoopProblem(model.checkpoint, { ...patching, newlineReset: true })!, /newline/);
    assert.match(deviceLoopProblem(model.checkpoint, { ...patching, mode: "bpe" })!, /bpe/);
    const huge = { ...model.checkpoint, hashTables: [{ ...model.checkpoint.hashTables[0], length: 6 * 2 ** 30 }] };
    assert.match(deviceLoopProblem(huge, patching)!, /6\.0 GiB/);
    const text = model.createText({ ...patching, newlineReset: true });
    await text.append(prompt);
    assert.equal(text.length, prompt.length);
    await model.release();
  });
});
