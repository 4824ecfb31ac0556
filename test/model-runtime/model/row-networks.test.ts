import assert from "node:assert/strict";
import type { Checkpoint } from "../../../model-runtime/checkpoint/checkpoint";
import type { BltConfig } from "../../../model-runtime/checkpoint/config";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { quantizeCheckpoint } from "../../../model-runtime/checkpoint/quantize";
import { encode } from "../../../model-runtime/ids";
import { Blt } from "../../../model-runtime/model/blt";
import type { Int8Kernel } from "../../../model-runtime/model/linear";
import {
  decoderRows,
  encoderRows,
  latentRows,
  patcherRows,
  pieceRows,
  rowMemory,
} from "../../../model-runtime/model/row-networks";
import type { SessionOptions } from "../../../model-runtime/session";
import { relative } from "../../helpers/compared-runs";
import { type RandomShape, randomShapes, writeRandomCheckpoint } from "../../helpers/random-checkpoint";
import { writeRandomLexicon } from "../../helpers/random-lexicon";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { lexiconFolder } from "../lexicon/lexicon-samples";

const options = { device: "cpu", threads: 1 } as const;
const shape: RandomShape = { ...randomShapes[0][1], localWidth: 48, latentWidth: 96, latentHeads: 6, patcherWidth: 32 };

describe("networks for a few rows", () => {
  const path = useTemporaryFolder();

  beforeEach(async () => {
    await writeRandomCheckpoint(path("float"), shape, 7);
    for (const bits of [4, 8] as const)
      await quantizeCheckpoint(openCheckpoint(path("float")), path(`${bits}`), { bits });
  });

  function open(name: string): Checkpoint {
    const checkpoint = openCheckpoint(path(name));
    const { patcher, encoder, decoder } = checkpoint.config;
    for (const network of [patcher!, encoder, decoder]) network.window = 24;
    return checkpoint;
  }

  /** Which of patcher, encoder, decoder and latent transformer the row kernels run. */
  function inKernels(
    name: string,
    int8Kernel: Int8Kernel = "rows-narrow",
    device: SessionOptions["device"] = "cpu",
    change: (config: BltConfig) => void = () => {},
  ): boolean[] {
    const source = { checkpoint: open(name), int8Kernel };
    change(source.checkpoint.config);
    const memory = rowMemory(source.checkpoint, { device, threads: 1, nativeKernels: false });
    return [patcherRows, encoderRows, decoderRows, latentRows].map((rows) => rows(source, memory) !== null);
  }

  const changed = (change: (config: BltConfig) => void) => inKernels("4", "rows-narrow", "cpu", change);

  it("are there for the weights that the row kernels multiply", () => {
    assert.deepEqual(inKernels("4"), [true, true, true, true]);
    assert.deepEqual(inKernels("8"), [true, true, true, false]);
    assert.deepEqual(inKernels("float"), [false, false, false, false]);
  });

  it("are there on the CPU, where the rows' products are those of whole rows", () => {
    for (const kernel of ["float32", "blocked"] as const)
      assert.deepEqual(inKernels("4", kernel), [false, false, false, false]);
    assert.deepEqual(inKernels("4", "rows", "cuda"), [false, false, false, false]);
  });

  it("are there for whole vectors, and byte networks with a window", () => {
    assert.deepEqual(
      changed((config) => {
        config.encoder.window = null;
      }),
      [true, false, true, true],
    );
    assert.deepEqual(
      changed((config) => {
        config.patcher!.headDim = 8;
        config.latent.headDim = 8;
      }),
      [false, true, true, false],
    );
    assert.deepEqual(
      changed((config) => {
        config.decoder.crossAttentionHeads = 6;
      }),
      [true, true, false, false],
    );
    assert.deepEqual(
      changed((config) => {
        config.encoder.crossAttentionHeads = 6;
      }),
      [true, true, true, false],
    );
  });

  it("are there where there is room for all that a row can see, which is made at once", () => {
    assert.deepEqual(
      changed((config) => {
        config.patcher!.window = 10 ** 9;
        config.crossAttentionWindow.decoder = 10 ** 9;
      }),
      [false, true, false, true],
    );
    // More than addresses reach.
    assert.deepEqual(
      changed((config) => {
        config.latent.kvHeads = 10 ** 5;
      }),
      [true, true, true, false],
    );
  });

  it("are there for pieces where their layers are blocks without minima", async () => {
    const shape = { width: 96, heads: 6, kvHeads: 2, layers: 1, readoutMatrix: true };
    await writeRandomLexicon(path("pieces"), shape, 1);
    await writeRandomLexicon(path("narrow"), { ...shape, heads: 12 }, 1);
    const areInKernels = (folder: string, int8Kernel: Int8Kernel) => {
      const checkpoint = openLexiconCheckpoint(folder);
      return pieceRows({ checkpoint, int8Kernel }, rowMemory(checkpoint, options)) !== null;
    };
    assert.deepEqual(
      (["blocked", "rows", "float32"] as const).map((kernel) => areInKernels(path("pieces"), kernel)),
      [true, true, false],
    );
    const others = [path("narrow"), ...["plain", "blocks"].map(lexiconFolder)];
    assert.deepEqual(
      others.map((folder) => areInKernels(folder, "blocked")),
      [false, false, false],
    );
  });

  /** Threads of the memory where so many are asked for. */
  async function threadsOf(checkpoint: Checkpoint, asked: number): Promise<number> {
    const { team } = rowMemory(checkpoint, { device: "cpu", threads: asked, nativeKernels: false })!;
    await team.release();
    return team.threads;
  }

  it("share a memory and as many threads as are asked for, up to four, where the latent transformer is among them", async () => {
    const [blocks, int8] = [open("4"), open("8")];
    for (const [asked, threads] of [
      [1, 1],
      [2, 2],
      [9, 4],
    ]) {
      assert.equal(await threadsOf(blocks, asked), threads);
      assert.equal(await threadsOf(int8, asked), 1);
    }
    assert.equal(rowMemory(blocks, { device: "cuda", threads: 1 }), null);
  });

  it("are without a latent transformer whose weights would take too much a second time", async () => {
    const stored = open("4");
    const name = "model.global_transformer.layers.0.mlp.down_proj.weight";
    const large = { ...stored.tensors.get(name)!, length: 2 ** 29 };
    const checkpoint = { ...stored, tensors: new Map([...stored.tensors, [name, large]]) };
    const source = { checkpoint, int8Kernel: "rows-narrow" } as const;
    assert.equal(latentRows(source, rowMemory(checkpoint, options)), null);
    assert.notEqual(decoderRows(source, rowMemory(checkpoint, options)), null);
    assert.equal(await threadsOf(checkpoint, 4), 1);
  });

  for (const [title, spoil] of [
    [
      "no addresses for a memory",
      () => {
        const { Memory } = WebAssembly;
        WebAssembly.Memory = class {
          constructor() {
            throw new RangeError("WebAssembly.Memory(): could not allocate memory");
          }
        } as unknown as typeof Memory;
        return () => {
          WebAssembly.Memory = Memory;
        };
      },
    ],
    [
      "no room in one",
      () => {
        const { grow } = WebAssembly.Memory.prototype;
        WebAssembly.Memory.prototype.grow = () => {
          throw new RangeError("WebAssembly.Memory.grow(): Unable to grow instance memory");
        };
        return () => {
          WebAssembly.Memory.prototype.grow = grow;
        };
      },
    ],
  ] as const)
    it(`are left to onnxruntime where the system has ${title}`, async () => {
      const ids = encode(Buffer.from("const value = 1;"));
      const read = async () => {
        const model = await Blt.load(open("4"), { ...options, int8Kernel: "rows-narrow" });
        const { patcher, encoder, decoder, latent } = model.networks;
        const text = model.createSequence();
        await text.append(ids.subarray(0, 8));
        const logits = await text.append(ids.subarray(8, 9));
        await model.release();
        return { logits, rows: [patcher!, encoder, decoder, latent].map(({ rowNetwork }) => rowNetwork !== null) };
      };
      const expected = await read();
      const mend = spoil();
      const found = await read().finally(mend);
      assert.deepEqual([expected.rows, found.rows], [new Array(4).fill(true), new Array(4).fill(false)]);
      assert.ok(relative(found.logits, expected.logits) < 0.1);
    });
});
