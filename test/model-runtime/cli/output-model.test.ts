import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { goldenDirectory } from "../../helpers/golden";
import { namesIn, useTemporaryFolder, writeMetaFolder } from "../checkpoint/fixture";
import { distance, useCli } from "./cli";

const k2 = goldenDirectory("k2");
const lexicon = goldenDirectory("lexicon/plain");

describe("blt quantize and blt convert", () => {
  const cli = useCli();
  const path = useTemporaryFolder();

  it("write a checkpoint with int8 weights that works", async () => {
    const result = await cli.json(["quantize", k2, path("int8")]);
    const bytes = statSync(path("int8/model.safetensors")).size;
    assert.deepEqual(result, { directory: k2, output: path("int8"), bytes });
    assert.equal(openCheckpoint(path("int8")).config.quantization, "blt-int8");
    const ids = ["--ids", "1,76,105,112,112,115"];
    const exact = await cli.json(["logits", ...ids, "--model", k2]);
    const rounded = await cli.json(["logits", ...ids, "--model", path("int8")]);
    assert.ok(distance(rounded.logits.flat(), exact.logits.flat()) < 0.3);
  });

  it("write a checkpoint with 4-bit weights that works, and no other widths", async () => {
    await cli.json(["quantize", k2, path("int4"), "--bits", "4"]);
    assert.equal(openCheckpoint(path("int4")).config.quantization, "blt-blocks-symmetric");
    const ids = ["--ids", "1,76,105,112,112,115"];
    const exact = await cli.json(["logits", ...ids, "--model", k2]);
    const rounded = await cli.json(["logits", ...ids, "--model", path("int4")]);
    assert.ok(distance(rounded.logits.flat(), exact.logits.flat()) < 0.6);
    const { stdout } = await cli.run(["inspect", path("int4")]);
    assert.match(stdout, / {2}weights +blt-blocks\n/);
    await cli.refused(["quantize", k2, path("out"), "--bits", "3"], /--bits must be one of 8, 4/);
  });

  it("write Meta's layout as Hugging Face's, in another type", async () => {
    const source = writeMetaFolder(path("meta"), "k2");
    const { stdout, stderr, code } = await cli.run(["convert", source, path("out"), "--dtype", "bf16"]);
    assert.match(stdout, /out: 0\.\d\d MB of weights, made from .*meta\n$/);
    assert.deepEqual([stderr, code], ["", 0]);
    const dtypes = [...openCheckpoint(path("out")).tensors.values()].map(({ dtype }) => dtype);
    assert.deepEqual([...new Set(dtypes)], ["BF16"]);
    assert.deepEqual(namesIn(path("out")), ["config.json", "model.safetensors"]);
  });

  it("keep the type unless told otherwise, and take --model for DIR", async () => {
    await cli.json(["convert", "--model", k2, path("out")]);
    const tensor = openCheckpoint(path("out")).tensors.get("lm_head.weight")!;
    assert.equal(tensor.dtype, "F32");
  });

  it("leave nothing behind where files may not grow that large", async function () {
    if (process.platform === "win32") this.skip();
    for (const command of ["quantize", "convert"]) {
      writeFileSync(path("limited.sh"), `ulimit -f 20; exec "$@"`);
      const child = cli.start([command, k2, path("out")], { wrapper: ["sh", path("limited.sh")] });
      const { code, stdout, stderr } = await cli.outcome(child);
      assert.match(stderr, /^blt: \S+out\/model\.safetensors would be larger than files may be there[^\n]*\.\n$/);
      assert.deepEqual([code, stdout], [2, ""]);
      assert.deepEqual(namesIn(path()), ["limited.sh"]);
    }
  });

  it("refuse places that cannot be written, and leave nothing behind", async () => {
    writeFileSync(path("file"), "x");
    mkdirSync(path("full"));
    // To root every folder on a disk is open; the system's own are not.
    await cli.refused(["quantize", k2, "/sys/out"], /\/sys\/out cannot be written/);
    await cli.refused(["quantize", k2, path("file")], /file is a file; name a folder/);
    await cli.refused(["convert", k2, path("none/out")], /folder is not there/);
    await cli.refused(["convert", k2, k2], /is the checkpoint that is read/);
    assert.deepEqual([namesIn(path()), readFileSync(path("file"), "utf8")], [["file", "full"], "x"]);
  });

  it("leave a model alone that is the only folder named", async () => {
    // The embedded model must not be taken for DIR then, and written over the user's.
    mkdirSync(join(cli.folder, "models/tiny"));
    cpSync(k2, join(cli.folder, "models/tiny"), { recursive: true });
    cpSync(goldenDirectory("k4"), path("mine"), { recursive: true });
    const before = readFileSync(path("mine/model.safetensors"));
    for (const command of ["quantize", "convert"])
      await cli.refused(
        [command, path("mine")],
        /Only .*mine is named; give the checkpoint and the folder to write to/,
      );
    assert.deepEqual(readFileSync(path("mine/model.safetensors")), before);
  });

  it("refuse what makes no sense", async () => {
    await cli.refused(
      ["convert", lexicon, path("out")],
      /plain is a model with a lexicon, where a plain BLT is needed/,
    );
    await cli.refused(["quantize", k2, path("out"), "--semantics", "hf"], /--semantics hf leaves out the windows/);
    await cli.refused(["convert", k2, path("out"), "--dtype", "f8"], /--dtype must be one of keep, f32, f16, bf16/);
    await cli.json(["quantize", k2, path("int8")]);
    await cli.refused(["quantize", path("int8"), path("out")], /quantised already/);
    assert.deepEqual(namesIn(path()), ["int8"]);
  });
});
