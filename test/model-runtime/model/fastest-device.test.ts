import assert from "node:assert/strict";
import { join } from "node:path";
import type { Device } from "../../../model-runtime/device";
import { nativeKernels } from "../../../model-runtime/kernels/native";
import { latentCost, resolveDeviceFor } from "../../../model-runtime/model/fastest-device";
import { openModel } from "../../../model-runtime/model/load-model";
import { RowNetwork } from "../../../model-runtime/model/row-network";
import type { DeviceChoice } from "../../../model-runtime/session";
import { writeRandomLexicon } from "../../helpers/random-lexicon";
import { useTemporaryFolder } from "../checkpoint/fixture";

const golden = join(__dirname, "../../golden");

describe("the device for a checkpoint", () => {
  const path = useTemporaryFolder();
  const checkpoint = openModel(join(golden, "k2"));
  const choose = async (asked: Device, resolved: DeviceChoice, costs: Record<string, number>) => {
    const timed: string[] = [];
    const choice = await resolveDeviceFor(checkpoint, asked, 1, {
      resolve: async () => resolved,
      time: async (_, { device }) => {
        timed.push(device);
        return costs[device];
      },
    });
    return { ...choice, timed };
  };

  it("is the GPU under auto only where its layers are the faster ones", async () => {
    const works = { device: "cuda", notice: null } as const;
    const timed = ["cpu", "cuda"];
    assert.deepEqual(await choose("auto", works, { cpu: 3, cuda: 2 }), { device: "cuda", notice: null, timed });
    assert.deepEqual(await choose("auto", works, { cpu: 2, cuda: 3 }), { device: "cpu", notice: null, timed });
  });

  it("is what was asked for, or the CPU where that does not work, without any timing", async () => {
    const works = { device: "cuda", notice: null } as const;
    assert.deepEqual(await choose("cuda", works, {}), { ...works, timed: [] });
    const fails = { device: "cpu", notice: "Device cuda cannot be used: none; the CPU is used instead." } as const;
    assert.deepEqual(await choose("cuda", fails, {}), { ...fails, timed: [] });
    assert.deepEqual(await choose("auto", { device: "cpu", notice: null }, {}), {
      device: "cpu",
      notice: null,
      timed: [],
    });
  });

  it("times 4-bit layers as the CPU runs them", async function () {
    if (nativeKernels() === null) this.skip();
    await writeRandomLexicon(path("model"), { width: 96, heads: 6, kvHeads: 2, layers: 2, readoutMatrix: false }, 1);
    const checkpoint = openModel(path("model"));
    const { run } = RowNetwork.prototype;
    const rows: number[] = [];
    RowNetwork.prototype.run = function (cache, inputs, views, part) {
      rows.push(views.length);
      return run.call(this, cache, inputs, views, part);
    };
    try {
      assert.ok((await latentCost(checkpoint, { device: "cpu", threads: 1 })) > 0);
    } finally {
      RowNetwork.prototype.run = run;
    }
    assert.deepEqual(rows, [1, 1, 1, 1, 64, 64, 64]);
  });

  for (const name of ["k2", "k4", "lexicon/blocks", "lexicon/plain"])
    it(`times the layers of ${name}`, async () => {
      const cost = await latentCost(openModel(join(golden, name)), { device: "cpu", threads: 1 });
      assert.ok(cost > 0 && Number.isFinite(cost));
    });
});
