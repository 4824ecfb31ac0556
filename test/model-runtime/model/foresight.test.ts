import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import type { Proposal } from "../../../model-runtime/lexicon/latent";
import { LexiconModel } from "../../../model-runtime/model/lexicon-model";
import type { PiecePaths } from "../../../model-runtime/model/piece-paths";
import { lexiconFolder } from "../lexicon/lexicon-samples";

interface Golden {
  path: number[];
  /** After the first `count` pieces, of which the latent has states after the first `known`. */
  cases: { known: number; count: number; pieces: number[]; chances: number[] }[];
}

const folder = lexiconFolder("drafted");
const golden: Golden = JSON.parse(readFileSync(join(folder, "drafter.json"), "utf8"));

describe("foresight", () => {
  let model: LexiconModel;
  before(async () => {
    model = await LexiconModel.load(openLexiconCheckpoint(folder), {
      device: "cpu",
      threads: 1,
      int8Kernel: "float32",
    });
  });
  after(() => model.release());

  const pathOf = (count: number) => Int32Array.from(golden.path.slice(0, count));

  /** Paths of which the latent has read the first `known` pieces. */
  async function pathsRead(known: number): Promise<PiecePaths> {
    const { path } = model.createReader();
    if (known > 0) await path.ask(pathOf(known));
    return path;
  }

  async function proposals(paths: PiecePaths, path: Int32Array): Promise<readonly Proposal[]> {
    let found: readonly Proposal[] = [];
    await paths.foresee(path, (proposed) => {
      found = proposed;
      return null;
    });
    return found;
  }

  function check(found: readonly Proposal[], { pieces, chances }: Golden["cases"][number]) {
    assert.deepEqual(
      found.slice(0, 3).map(({ piece }) => piece),
      pieces,
    );
    chances.forEach((chance, i) => {
      assert.ok(Math.abs(found[i].chance - chance) < 1e-4, `${found[i].chance}, not ${chance}`);
    });
  }

  it("proposes what the reference does, each from nothing", async () => {
    for (const each of golden.cases) check(await proposals(await pathsRead(each.known), pathOf(each.count)), each);
  });

  it("goes on from what it proposed as from what is written", async () => {
    const { known, count } = golden.cases.find((each) => each.known === 12 && each.count === 15)!;
    const paths = await pathsRead(known);
    const seen: (readonly Proposal[])[] = [];
    await paths.foresee(pathOf(known + 1), (proposed) => {
      seen.push(proposed);
      return seen.length <= 2 ? golden.path[known + seen.length] : null;
    });
    assert.equal(seen.length, 3);
    check(seen[2], golden.cases.find((each) => each.count === count)!);
  });

  it("answers alike whatever was asked and read before", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 6 }), async (order) => {
        // Cases that know less come after those that know more only where paths are anew.
        const longest = golden.cases.filter(({ known, count }) => known + 1 === count);
        const paths = await pathsRead(Math.max(...longest.map(({ known }) => known)));
        for (const i of order) {
          const each = longest[i % longest.length];
          check(await proposals(paths, pathOf(each.count)), each);
          const other = pathOf(each.count + 1);
          other[each.count - 1] = golden.path[3];
          await proposals(paths, other);
        }
      }),
      { numRuns: 10 },
    );
  }).timeout(60_000);

  it("can be stopped", async () => {
    const paths = await pathsRead(4);
    const stop = new AbortController();
    const asked = paths.foresee(
      pathOf(5),
      () => {
        stop.abort();
        return golden.path[5];
      },
      stop.signal,
    );
    await assert.rejects(asked as Promise<void>, { name: "AbortError" });
    check(await proposals(paths, pathOf(5)), golden.cases.find(({ known, count }) => known === 4 && count === 5)!);
  });

  it("is not there without a draft layer", async () => {
    const plain = await LexiconModel.load(openLexiconCheckpoint(lexiconFolder("plain")), { device: "cpu", threads: 1 });
    assert.equal(
      plain.createReader().path.foresee(pathOf(1), () => null),
      null,
    );
    await plain.release();
  });
});
