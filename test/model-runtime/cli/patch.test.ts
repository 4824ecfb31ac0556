import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "../../../model-runtime/ids";
import { goldenCases, goldenDirectory, loadGolden } from "../../helpers/golden";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { defaultFolder } from "../lexicon/lexicon-samples";
import { distance, useCli } from "./cli";

const model = goldenDirectory("k2");
const text = Buffer.from("for (const ß of 語) {\n\treturn 1;\n}\n");

describe("blt patch", () => {
  const cli = useCli();
  const path = useTemporaryFolder();
  const write = (bytes: Uint8Array | string) => {
    writeFileSync(path("text"), bytes);
    return path("text");
  };

  it("gives the patches and entropies of the reference implementation", async () => {
    for (const golden of goldenCases("k2").filter(({ semantics, tokens }) => semantics === "hf" && tokens.length > 1)) {
      const bytes = Uint8Array.from(golden.tokens.slice(1), (id) => id - 4);
      const args = ["patch", write(bytes), "--model", model, "--semantics", "hf"];
      const { entropies, starts, meanPatchLength, ...rest } = await cli.json(args);
      assert.deepEqual(rest, { model, ids: golden.tokens, threshold: 1.2182 });
      assert.ok(distance(entropies, golden.entropies) < 1e-4);
      // The patch of BOS has no byte, and the next byte that counts in the last one is none of the file's.
      const lengths = golden.patch_lengths_with_next.slice(1);
      const offsets = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, length) => sum + length, 0));
      assert.deepEqual(
        starts,
        offsets.filter((offset) => offset < bytes.length),
      );
      assert.equal(meanPatchLength, bytes.length / starts.length);
    }
  });

  it("cuts as the whole model does, whatever the settings", async () => {
    const blt = await loadGolden("k2");
    for (const [args, settings] of [
      [["--threshold", "1.6"], { threshold: 1.6 }],
      [["--monotonic", "--threshold", "0.3"], { monotonic: true, threshold: 0.3 }],
      [["--threshold-add", "0.1"], { thresholdAdd: 0.1 }],
      [["--newline-reset", "--max-patch-length", "5"], { newlineReset: true, maxPatchLength: 5 }],
      [["--mode", "space", "--min-patch-length", "3"], { mode: "space", minPatchLength: 3 }],
      [["--mode", "static", "--patch-size", "3"], { mode: "static", patchSize: 3 }],
    ] as const) {
      const sequence = blt.createSequence({ ...blt.config.patching, ...settings });
      await sequence.append(encode(text), { logits: "none" });
      const { starts, entropies } = await cli.json(["patch", write(text), "--model", model, ...args]);
      const expected = sequence.patchStarts.filter((start) => start > 0 && start <= text.length);
      assert.deepEqual(
        starts,
        expected.map((start) => start - 1),
        args.join(" "),
      );
      assert.equal(entropies === null, "mode" in settings);
    }
    await blt.release();
  });

  it("reads by the entropy model of a checkpoint with a lexicon, and says what does not go with one", async () => {
    const model = defaultFolder;
    const golden = JSON.parse(readFileSync(join(__dirname, "../../golden/lexicon/patcher.json"), "utf8"));
    const { entropies, threshold, starts } = await cli.json(["patch", write(golden.text), "--model", model]);
    assert.ok(distance(entropies.slice(0, golden.entropy.length), golden.entropy) < 2e-3);
    const above = golden.entropy.flatMap((_: number, i: number) => (i === 0 || entropies[i] > threshold ? [i] : []));
    assert.deepEqual(starts, above);
    const refusal = /--semantics is for plain BLT checkpoints, and .*default is none; name one with --model\.\n$/;
    await cli.refused(["patch", write("a"), "--model", model, "--semantics", "hf"], refusal);
  });

  it("shows patches to people, and a summary", async () => {
    const args = ["patch", "-", "--model", model, "--mode", "static", "--patch-size", "4"];
    const { stdout, stderr, code } = await cli.run(args, { input: "abcdefg\nh" });
    assert.equal(stdout, `abc|defg|↵\nh\n\n9 bytes, 3 patches, 3.00 bytes a patch; static patches of 4; ${model}\n`);
    assert.deepEqual([stderr, code], ["", 0]);
  });

  it("takes bytes as they are", async () => {
    const bytes = Uint8Array.from([0xff, 0xfe, 0, 0xc3, 0x28]);
    const { ids, starts } = await cli.json(["patch", write(bytes), "--model", model, "--mode", "byte"]);
    assert.deepEqual(
      [ids, starts],
      [
        [1, 259, 258, 4, 199, 44],
        [0, 1, 2, 3, 4],
      ],
    );
  });

  it("takes a single line of 5 MB", async () => {
    const length = 5 * 2 ** 20;
    const args = ["patch", write(Buffer.alloc(length, "lorem ipsum ")), "--model", model, "--mode", "space"];
    const { ids, starts } = await cli.json(args);
    assert.deepEqual([ids.length, starts.length], [length + 1, Math.ceil(length / 6)]);
    const { stdout, code } = await cli.run(args);
    assert.equal(code, 0);
    assert.match(stdout, /^lorem \|ipsum \|.*\n\n5242880 bytes, 873814 patches, 6\.00 bytes a patch;/);
  });

  it("refuses an input without a byte", async () => {
    await cli.refused(["patch", write(""), "--model", model], /text is empty; there is nothing to cut/);
    await cli.refused(["patch", "-", "--model", model], /stdin is empty/);
  });
});
