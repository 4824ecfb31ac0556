import assert from "node:assert/strict";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { CausalNetwork, sampleRows } from "../../../model-runtime/model/causal-network";
import { LongRuns } from "../../../model-runtime/model/long-runs";
import { pieceLatentGraph } from "../../../model-runtime/model/piece-latent";
import type { Feeds, Session } from "../../../model-runtime/session";
import { lexiconFolder } from "../lexicon/lexicon-samples";

describe("a second form for long runs", () => {
  const checkpoint = openLexiconCheckpoint(lexiconFolder("symmetric"));
  const { latent } = checkpoint.config;
  const inputs = (rows: number): Feeds => ({ embedding: sampleRows(rows, latent.hiddenSize) });
  const createRuns = (current: () => CausalNetwork | null) =>
    new LongRuns(
      {
        checkpoint,
        config: latent,
        int8Kernel: "blocked",
        graph: pieceLatentGraph,
        isTurned: false,
        others: ["model.lexicon"],
        inputs,
      },
      { device: "cpu", threads: 1 },
      current,
    );
  /** A network whose timing is `time`; `made` and `used` are the session that was timed and the one in use. */
  function createNetwork(time: () => number | null) {
    const seen = { made: null as Session | null, used: null as Session | null, from: 0 };
    const network = {
      timeLongRuns: async (session: Session) => {
        seen.made = session;
        return time();
      },
      useForLongRuns: (session: Session, from: number) => Object.assign(seen, { used: session, from }),
    } as unknown as CausalNetwork;
    return { network, seen };
  }
  const untouched = CausalNetwork.compiledLater(pieceLatentGraph({ checkpoint, int8Kernel: "blocked" }), latent, {
    device: "cpu",
  });
  const run = (session: Session | null) => session!.run({ ...inputs(2), ...untouched.createCache().feeds(2, null) });

  it("is used from as many rows on as timing says", async () => {
    const { network, seen } = createNetwork(() => 16);
    const runs = createRuns(() => network);
    assert.equal(runs.canPrepare, true);
    await runs.prepare();
    assert.equal(runs.canPrepare, false);
    assert.equal(seen.from, 16);
    assert.equal(seen.used, seen.made);
    assert.ok((await run(seen.used)).packed.every(Number.isFinite));
    await seen.used!.release();
  });

  it("is given up where its network is no longer in use, whatever timing says", async () => {
    for (const fails of [false, true]) {
      let isCurrent = true;
      const { network, seen } = createNetwork(() => {
        isCurrent = false;
        if (fails) throw new Error("released");
        return 16;
      });
      await createRuns(() => (isCurrent ? network : null)).prepare();
      assert.equal(seen.used, null);
      await assert.rejects(run(seen.made), /disposed/);
    }
  });

  it("is given up when that is asked for while it is timed, or timing fails", async () => {
    const runs = createRuns(() => ended.network);
    const ended = createNetwork(() => {
      runs.end();
      return 16;
    });
    await assert.rejects(runs.prepare(), { name: "AbortError" });
    const failed = createNetwork(() => {
      throw new Error("out of memory");
    });
    await assert.rejects(createRuns(() => failed.network).prepare(), /out of memory/);
    for (const { seen } of [ended, failed]) {
      assert.equal(seen.used, null);
      await assert.rejects(run(seen.made), /disposed/);
    }
  });
});
