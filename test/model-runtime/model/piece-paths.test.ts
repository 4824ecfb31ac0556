import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import { PiecePaths } from "../../../model-runtime/model/piece-paths";
import { lexiconFolder } from "../lexicon/lexicon-samples";

describe("paths of pieces", () => {
  let model: LexiconModel;
  before(async () => {
    const checkpoint = openLexiconCheckpoint(lexiconFolder("plain"));
    model = await LexiconModel.load(checkpoint, { device: "cpu", threads: 1, int8Kernel: "float32" });
  });
  after(() => model.release());

  const paths = (mostBytes?: number): PiecePaths =>
    new PiecePaths((model as unknown as { networks: ConstructorParameters<typeof PiecePaths>[0] }).networks, mostBytes);
  /** A path of the model's pieces, BOS first. */
  function path(length: number, seed: number): Int32Array {
    const pieces = Int32Array.from({ length }, (_, i) => 2 + ((i * 7 + seed * i * i) % 5));
    pieces[0] = 1;
    return pieces;
  }
  function checkSame(found: Float32Array, expected: Float32Array) {
    assert.equal(found.length, expected.length);
    found.forEach((mass, place) => {
      assert.ok(Math.abs(mass - expected[place]) < 1e-5, `place ${place}: ${mass}, ${expected[place]}`);
    });
  }

  it("answer what is asked together in one run, as if it was asked alone", async () => {
    const trunk = path(12, 1);
    const questions = [
      trunk.slice(0, 5),
      trunk,
      Int32Array.of(...trunk.slice(0, 7), 3, 4),
      Int32Array.of(...trunk.slice(0, 7), 3, 5),
      Int32Array.of(...trunk, 2),
      Int32Array.of(1, 6),
    ];
    const together = paths();
    const found = await Promise.all(questions.map((question) => together.ask(question)));
    assert.equal(together.steps, 1);
    // The last one asked is the path that is kept; the others are branches, their common rows run once.
    for (const [i, question] of questions.entries()) checkSame(found[i], await paths().ask(question));
    for (const question of questions) checkSame(await together.ask(question), await paths().ask(question));
  });

  it("run an expected path along", async () => {
    const trunk = path(20, 2);
    const asked = paths();
    asked.expect(trunk);
    await asked.ask(trunk.slice(0, 4));
    const { steps } = asked;
    for (let length = 4; length <= 20; length++) await asked.ask(trunk.slice(0, length));
    assert.equal(asked.steps, steps);
    checkSame(await asked.ask(trunk), await paths().ask(trunk));
  });

  it("keep two texts apart and what lies behind an edit far up", async () => {
    const [one, other] = [path(300, 1), path(300, 2)];
    const kept = paths();
    await kept.ask(one);
    await kept.ask(other);
    const changed = one.slice();
    changed[100] = changed[100] === 2 ? 3 : 2;
    await kept.ask(changed);
    const { positions } = kept;
    checkSame(await kept.ask(one), await paths().ask(one));
    checkSame(await kept.ask(other), await paths().ask(other));
    assert.equal(kept.positions, positions);
    assert.equal(kept.count, 3);
  });

  it("take no more bytes than they may, the longest unused going first", async () => {
    const size = await (async () => {
      const one = paths();
      await one.ask(path(300, 1));
      return one.byteLength;
    })();
    const kept = paths(2.5 * size);
    for (let seed = 0; seed < 5; seed++) {
      await kept.ask(path(300, seed));
      assert.ok(kept.byteLength <= 2.5 * size, `${kept.byteLength} of ${2.5 * size} bytes`);
    }
    const { positions } = kept;
    await kept.ask(path(300, 4));
    assert.equal(kept.positions, positions);
    await kept.ask(path(300, 0));
    assert.ok(kept.positions > positions);
  });

  it("are as before when a run is interrupted", async () => {
    const kept = paths();
    await kept.ask(path(50, 1));
    await assert.rejects(kept.ask(path(80, 3), AbortSignal.abort(new Error("enough"))), /enough/);
    checkSame(await kept.ask(path(60, 1)), await paths().ask(path(60, 1)));
  });
});
