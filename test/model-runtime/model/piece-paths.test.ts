import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import { PiecePaths } from "../../../model-runtime/model/piece-paths";
import type { ComparedRuns } from "../../helpers/compared-runs";
import { comparedLayers, writeRandomLexicon } from "../../helpers/random-lexicon";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { lexiconFolder } from "../lexicon/lexicon-samples";

/** Nothing cached. */
function pathsOf(model: LexiconModel, mostBytes?: number): PiecePaths {
  const { networks } = model as unknown as { networks: ConstructorParameters<typeof PiecePaths>[0] };
  return new PiecePaths(networks, mostBytes);
}

/** A path of the golden pieces, BOS first. */
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

describe("paths of pieces", () => {
  let model: LexiconModel;
  before(async () => {
    const checkpoint = openLexiconCheckpoint(lexiconFolder("plain"));
    model = await LexiconModel.load(checkpoint, { device: "cpu", threads: 1, int8Kernel: "float32" });
  });
  after(() => model.release());

  const paths = (mostBytes?: number) => pathsOf(model, mostBytes);

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

describe("paths of pieces whose rows the kernels run", () => {
  const folder = useTemporaryFolder();
  let model: LexiconModel;
  let compared: ComparedRuns;
  beforeEach(async () => {
    const shape = { width: 96, heads: 6, kvHeads: 2, layers: 2, readoutMatrix: true };
    await writeRandomLexicon(folder("model"), shape, 6);
    model = await LexiconModel.load(openLexiconCheckpoint(folder("model")), {
      device: "cpu",
      threads: 1,
      nativeKernels: false,
    });
    compared = await comparedLayers(model, null);
  });
  afterEach(async () => {
    await compared.release();
    await model.release();
  });

  it("are asked in trees of two rows, go on as onnxruntime's, and keep the path that was asked last", async () => {
    const trunk = path(12, 1);
    const kept = pathsOf(model);
    await kept.ask(trunk);
    assert.deepEqual(compared.inKernels, []);
    const further = Int32Array.of(...trunk, 2);
    // A branch, and a row of the path that is kept.
    const together = [Int32Array.of(...trunk.slice(0, 7), 3), further];
    const [branch, end] = await Promise.all(together.map((each) => kept.ask(each)));
    assert.notDeepEqual(branch, end);
    // Two branches.
    const branches = [Int32Array.of(...trunk.slice(0, 3), 6), Int32Array.of(...trunk.slice(0, 9), 3), further];
    await Promise.all(branches.map((each) => kept.ask(each)));
    assert.deepEqual([kept.steps, compared.inKernels], [3, [2, 2]]);
    await kept.ask(Int32Array.of(...further, 5));
    await kept.ask(Int32Array.of(...further, 5, 4, 3));
    assert.deepEqual(compared.inKernels, [2, 2, 1, 2]);
    compared.check();
  });

  it("give the answers of one row after the other to rows that follow each other, to the bit", async () => {
    const trunk = path(30, 2);
    const [one, some] = [pathsOf(model), pathsOf(model)];
    for (const each of [one, some]) await each.ask(trunk.slice(0, 10));
    for (let length = 11; length <= 30; length++) await one.ask(trunk.slice(0, length));
    for (const length of [12, 14, 15, 17, 19, 20, 22, 24, 26, 28, 30]) await some.ask(trunk.slice(0, length));
    assert.deepEqual(compared.inKernels, [...new Array(20).fill(1), 2, 2, 1, 2, 2, 1, 2, 2, 2, 2, 2]);
    assert.deepEqual(await some.ask(trunk), await one.ask(trunk));
    compared.check();
  });

  it("go on as onnxruntime's where rows of two long texts come in turns", async () => {
    const texts = [path(150, 1), path(150, 2)];
    const kept = pathsOf(model);
    for (const text of texts) await kept.ask(text.slice(0, 130));
    const before = compared.inKernels.length;
    for (let length = 131; length <= 150; length++) for (const text of texts) await kept.ask(text.slice(0, length));
    assert.deepEqual(compared.inKernels.slice(before), new Array(40).fill(1));
    compared.check();
  });

  it("are as before when a run is interrupted", async () => {
    const kept = pathsOf(model);
    const trunk = path(20, 1);
    await kept.ask(trunk);
    await assert.rejects(kept.ask(Int32Array.of(...trunk, 3), AbortSignal.abort(new Error("enough"))), /enough/);
    checkSame(await kept.ask(Int32Array.of(...trunk, 2)), await pathsOf(model).ask(Int32Array.of(...trunk, 2)));
  });
});
