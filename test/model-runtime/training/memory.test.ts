import assert from "node:assert/strict";
import type { Dataset } from "../../../model-runtime/training/dataset";
import type { Kit } from "../../../model-runtime/training/kit";
import { availableBytes, estimatedBytes, loadFitting } from "../../../model-runtime/training/memory";
import type { Trainee, TraineeOptions } from "../../../model-runtime/training/trainee";

const options = { device: "cpu" as const, rank: 8, alpha: 16, targets: [], layers: 8, labelSmoothing: 0 };
const dataset = { train: [] } as unknown as Dataset;

/** A model that takes rows up to so many positions. */
function kitFor(mostPositions: number): { kit: Kit; asked: number[]; released: number[] } {
  const [asked, released]: [number[], number[]] = [[], []];
  const trainee = async ({ positions }: TraineeOptions) => {
    asked.push(positions);
    return {
      rows: () => [],
      async prepare() {
        if (positions > mostPositions) throw new Error("std::bad_alloc");
      },
      async release() {
        released.push(positions);
      },
    } as unknown as Trainee;
  };
  const kit = { latentLayers: 8, defaults: { layers: 8, positions: 512 }, trainee } as unknown as Kit;
  return { kit, asked, released };
}

describe("memory of a run", () => {
  const plenty = 64e9;

  async function load(kit: Kit, available: number, earlier: { layers: number; positions: number } | null = null) {
    const notices: string[] = [];
    const { shape } = await loadFitting(
      kit,
      options,
      dataset,
      60,
      earlier,
      (notice) => notices.push(notice),
      available,
    );
    return { shape, notices };
  }

  it("is that of the usual rows where there is enough", async () => {
    const { kit, released } = kitFor(512);
    assert.deepEqual(await load(kit, plenty), { shape: { layers: 8, positions: 512 }, notices: [] });
    assert.deepEqual(released, []);
  });

  it("decides how large rows are, and says so when they are smaller", async () => {
    const { kit, asked } = kitFor(512);
    const { shape, notices } = await load(kit, estimatedBytes({ layers: 8, positions: 256 }));
    assert.equal(shape.positions, 256);
    assert.deepEqual(asked, [256]);
    assert.deepEqual(notices, ["Memory is short: training in smaller batches of 256 positions."]);
  });

  it("that runs out makes rows smaller, and frees what was loaded", async () => {
    const { kit, asked, released } = kitFor(128);
    const { shape, notices } = await load(kit, plenty);
    assert.deepEqual([shape.positions, asked, released], [128, [512, 256, 128], [512, 256]]);
    assert.equal(notices.length, 1);
  });

  it("that runs out with the smallest rows ends the run", async () => {
    const { kit } = kitFor(64);
    await assert.rejects(load(kit, plenty), /bad_alloc/);
  });

  it("of a run that goes on is what it was", async () => {
    const { kit } = kitFor(512);
    const { shape } = await load(kit, plenty, { layers: 4, positions: 256 });
    assert.deepEqual(shape, { layers: 4, positions: 256 });
  });

  it("is known of this machine", () => assert.ok(availableBytes() > 1e8));
});
