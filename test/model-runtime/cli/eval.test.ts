import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { scoreText } from "../../../model-runtime/evaluate";
import { goldenDirectory, loadGolden } from "../../helpers/golden";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { useCli } from "./cli";

const model = goldenDirectory("k2");

describe("blt eval", () => {
  const cli = useCli();
  const path = useTemporaryFolder();
  const first = "let a = 1;\n".repeat(60);
  const second = Uint8Array.from([0xff, 0xc3, 0x61]);

  beforeEach(() => {
    for (const folder of ["all/b", "all/.git", "all/node_modules"]) mkdirSync(path(folder), { recursive: true });
    writeFileSync(path("all/a.ts"), first);
    writeFileSync(path("all/b/c.bin"), Uint8Array.of(1, 0, 2));
    writeFileSync(path("all/b/d.txt"), second);
    writeFileSync(path("all/b/e.txt"), "");
    writeFileSync(path("all/.git/HEAD"), "ref");
    writeFileSync(path("all/node_modules/x.js"), "x");
    symlinkSync(path("all"), path("all/b/loop"), "junction");
  });

  it("scores every text below a folder, and says what it leaves out", async () => {
    const { stdout, stderr, code } = await cli.run(["eval", path("all"), "--model", model, "--json"]);
    assert.equal(code, 0);
    const [binary, empty] = [path("all/b/c.bin"), path("all/b/e.txt")];
    assert.equal(stderr, `blt: Skipped ${binary} (binary), ${empty} (empty).\n`);
    const result = JSON.parse(stdout);
    const keys = ["files", "skipped", "bytes", "bpb", "accuracy", "perplexity", "meanPatchLength"];
    assert.deepEqual(Object.keys(result), keys);
    assert.deepEqual(result.skipped, [
      { path: binary, reason: "binary" },
      { path: empty, reason: "empty" },
    ]);
    const blt = await loadGolden("k2");
    const scores = [await scoreText(blt, Buffer.from(first)), await scoreText(blt, second)];
    await blt.release();
    const names = [path("all/a.ts"), path("all/b/d.txt")];
    const close = (actual: number, expected: number) => assert.ok(Math.abs(actual - expected) < 1e-3);
    scores.forEach(({ bytes, bits }, i) => {
      assert.deepEqual([result.files[i].path, result.files[i].bytes], [names[i], bytes]);
      close(result.files[i].bits, bits);
      close(result.files[i].bpb, bits / bytes);
    });
    assert.equal(result.files.length, 2);
    assert.equal(result.bytes, first.length + 3);
    close(result.bpb, (scores[0].bits + scores[1].bits) / result.bytes);
    assert.equal(result.perplexity, 2 ** result.bpb);
  });

  it("refuses options of a plain BLT for a model with a lexicon, and the other way round", async () => {
    const lexicon = ["eval", path("all/a.ts"), "--model", goldenDirectory("lexicon/plain")];
    await cli.refused(
      [...lexicon, "--semantics", "hf"],
      /--semantics is for plain BLT checkpoints, and .*plain is none/,
    );
    await cli.refused([...lexicon, "--entropy-model", model], /--entropy-model is for plain BLT checkpoints/);
    await cli.refused([...lexicon, "--mode", "space"], /--mode is about patches, and this model reads pieces/);
    const plainOnly = ["logits", "--ids", "1,76", "--model", goldenDirectory("lexicon/plain")];
    await cli.refused(
      plainOnly,
      /plain is a model with a lexicon, where a plain BLT is needed; name the folder of one/,
    );
  });

  it("prints a table for people", async () => {
    const { stdout, code } = await cli.run(["eval", "all/b/d.txt", "all/a.ts", "--model", model], { cwd: path() });
    assert.equal(code, 0);
    assert.match(stdout, /^ +\d+\.\d{4} {4}3 {2}all\/b\/d\.txt\n +\d+\.\d{4} {2}660 {2}all\/a\.ts\n/);
    assert.match(
      stdout,
      /\d+\.\d{4} bits per byte over 663 bytes; \d+\.\d % of bytes right, perplexity [\d.]+, [\d.]+ bytes a patch\n$/,
    );
  });

  it("reads a binary file that is named", async () => {
    const { files } = await cli.json(["eval", path("all/b/c.bin"), "--model", model, "--mode", "byte"]);
    assert.deepEqual(
      files.map(({ bytes }: { bytes: number }) => bytes),
      [3],
    );
  });

  it("counts patches as blt patch does", async () => {
    const settings = ["--threshold", "1", "--model", model];
    const evaluated = await cli.json(["eval", path("all/a.ts"), ...settings]);
    const patched = await cli.json(["patch", path("all/a.ts"), ...settings]);
    assert.equal(evaluated.meanPatchLength, patched.meanPatchLength);
  });

  it("scores each file with the rest of a folder as the workspace", async () => {
    mkdirSync(path("work"));
    const text = "export function greet(name: string) {\n  return hello(name) + mark;\n}\n";
    for (const name of ["a.ts", "b.ts", "copy.ts"]) writeFileSync(path("work", name), text.replaceAll("greet", "hail"));
    writeFileSync(path("work/rest.ts"), text);
    const evaluate = (file: string, ...more: string[]) =>
      cli.json(["eval", path("work", file), "--model", model, ...more]);
    const alone = await evaluate("a.ts");
    const mixed = await evaluate("a.ts", "--workspace", path("work"));
    const counted = await evaluate("a.ts", "--workspace", path("work"), "--without-network", "--fixed-weights");
    assert.ok(mixed.bpb < alone.bpb / 2, `${mixed.bpb} of ${alone.bpb}`);
    assert.ok(counted.bpb < alone.bpb / 2, `${counted.bpb} of ${alone.bpb}`);
    // Of three equal files one is counted, and none of them while one of them is scored.
    assert.deepEqual(mixed.workspace, { path: path("work"), files: 2, bytes: 2 * text.length - 1, leftOut: 0 });
    rmSync(path("work/b.ts"));
    rmSync(path("work/copy.ts"));
    assert.equal((await evaluate("a.ts", "--workspace", path("work"))).bpb, mixed.bpb);
    const { stdout } = await cli.run(["eval", path("work/a.ts"), "--model", model, "--workspace", path("work")]);
    assert.match(stdout, /\nWorkspace .*work: 2 files, \d+ bytes\n$/);
  });

  it("refuses a workspace that is none", async () => {
    const file = path("all/a.ts");
    await cli.refused(["eval", file, "--model", model, "--workspace", path("none")], /There is no folder .*none; name/);
    await cli.refused(["eval", file, "--model", model, "--workspace", file], /There is no folder .*a\.ts; name/);
    await cli.refused(["eval", file, "--model", model, "--without-network"], /--without-network is about a workspace/);
  });

  it("refuses paths without text", async () => {
    await cli.refused(["eval", path("none"), "--model", model], /There is no file .*none; check the name/);
    await cli.refused(["eval", path("all/b/e.txt"), "--model", model], /There is no text in .*e\.txt/);
    await cli.refused(["eval", "--model", model], /"blt eval" needs PATH/);
  });
});
