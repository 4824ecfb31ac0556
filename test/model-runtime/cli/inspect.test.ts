import assert from "node:assert/strict";
import { openCheckpoint } from "../../../model-runtime/checkpoint/open-checkpoint";
import { openLexiconCheckpoint } from "../../../model-runtime/checkpoint/open-lexicon";
import { inspectCheckpoint } from "../../../model-runtime/inspect";
import { inspectLexicon } from "../../../model-runtime/inspect-lexicon";
import { goldenDirectory } from "../../helpers/golden";
import { useCli } from "./cli";

const folder = goldenDirectory("k4");
const lexicon = goldenDirectory("lexicon/plain");

describe("blt inspect", () => {
  const cli = useCli();

  it("describes a checkpoint, named either way", async () => {
    const { directory, config, device, ...inspection } = await cli.json(["inspect", folder, "--device", "cpu"]);
    assert.deepEqual([directory, device], [folder, "cpu"]);
    assert.deepEqual([config.model_type, config.cross_attn_k, config.decoder_config.sliding_window], ["blt", 4, 512]);
    const plain = JSON.parse(JSON.stringify(inspectCheckpoint(openCheckpoint(folder), 4)));
    assert.deepEqual(inspection, plain);
    const again = await cli.json(["inspect", "--model", folder, "--patch-length", "8", "--semantics", "hf"]);
    assert.equal(again.flops.meanPatchLength, 8);
    assert.equal(again.config.decoder_config.sliding_window, null);
  });

  it("takes the patch length of a mode that has one", async () => {
    const { stdout } = await cli.run(["inspect", folder]);
    assert.match(stdout, /Cost, at 4 bytes a patch/);
  });

  it("prints a report for people", async () => {
    const { stdout, stderr, code } = await cli.run(["inspect", folder]);
    assert.deepEqual([stderr, code], ["", 0]);
    assert.match(stdout, /^\/.*k4\n {2}patching {11}entropy above [\d.]+ nats\n/);
    assert.match(stdout, / {2}latent transformer 2 layers x \d+, 2 heads, feed-forward \d+, no window\n/);
    assert.match(stdout, / {2}total +[\d,]+\n\nMemory\n {2}weights +[\d.]+ MB in files \(BF16 /);
  });

  it("describes a model with a lexicon by its pieces", async () => {
    const { config, device, directory, ...inspection } = await cli.json(["inspect", lexicon, "--patch-length", "2"]);
    assert.deepEqual([directory, config.lexicon_config.vocab_size], [lexicon, 88]);
    assert.deepEqual(inspection, JSON.parse(JSON.stringify(inspectLexicon(openLexiconCheckpoint(lexicon), 2))));
    const { stdout } = await cli.run(["inspect", lexicon]);
    assert.match(stdout, /^\/.*plain\n/);
    assert.match(stdout, /\n {2}lexicon {12}88 pieces of tokenizer\.json\n/);
    assert.match(stdout, /\nCost, at 4 bytes a piece\n {2}a byte .* a piece\n$/);
  });

  it("refuses two checkpoints, and a length that is none", async () => {
    await cli.refused(["inspect", folder, "--model", folder], /The checkpoint is named twice/);
    await cli.refused(["inspect", folder, "--patch-length", "0.5"], /--patch-length must be at least 1, not 0\.5/);
  });
});
