import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { goldenDirectory } from "../../helpers/golden";
import {
  goldenConfig,
  goldenWith,
  namesIn,
  safetensors,
  useTemporaryFolder,
  writeCheckpointFolder,
} from "../checkpoint/fixture";
import { useCli } from "./cli";

const model = goldenDirectory("k2");
const hashTable = "model.encoder_hash_tok_embedding.weight";
const names = ["patch", "logits", "eval", "generate", "inspect", "quantize", "convert", "calibrate"];

describe("blt", () => {
  const cli = useCli();
  const path = useTemporaryFolder();

  it("lists its commands, on stderr when none is given", async () => {
    const asked = await cli.run(["--help"]);
    assert.deepEqual([asked.code, asked.stderr], [0, ""]);
    for (const name of names) assert.match(asked.stdout, new RegExp(`^ {2}${name} +\\w`, "m"));
    assert.deepEqual(await cli.run([]), { code: 2, stdout: "", stderr: asked.stdout });
    const { version } = JSON.parse(readFileSync(join(__dirname, "../../../package.json"), "utf8"));
    assert.deepEqual(await cli.run(["--version"]), { code: 0, stdout: `${version}\n`, stderr: "" });
  });

  for (const name of names) {
    it(`explains ${name}`, async () => {
      const { code, stdout, stderr } = await cli.run([name, "--help"]);
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, new RegExp(`^Usage: blt ${name} `));
      for (const flag of [
        "--model DIR",
        "--entropy-model DIR",
        "--semantics ",
        "--device ",
        "--threads ",
        "--json ",
        "--help",
      ])
        assert.match(stdout, new RegExp(`^ {2}${flag}`, "m"));
      assert.ok(stdout.split("\n").every((line) => line.length <= 100));
    });
  }

  it("refuses an unknown command", () => cli.refused(["pach"], /There is no command "pach"; the commands are patch, /));
  it("refuses an unknown option", () => cli.refused(["patch", "--fast"], /Unknown option --fast for "blt patch"/));
  it("refuses an unknown device", () =>
    cli.refused(["patch", "-", "--device", "tpu"], /--device must be one of auto, cpu/));
  it("refuses an unknown mode", () =>
    cli.refused(["patch", "-", "--mode", "word", "--model", model], /--mode must be one of entropy, space/));

  it("says once why a device cannot be used, and uses the CPU", async () => {
    const device = process.platform === "darwin" ? "dml" : "coreml";
    const { code, stdout, stderr } = await cli.run(["logits", "--ids", "1,76", "--model", model, "--device", device]);
    assert.match(stderr, new RegExp(`^blt: Device ${device} cannot be used: [^\\n]+; the CPU is used instead\\.\\n$`));
    assert.deepEqual([code, JSON.parse(stdout).logits.length], [0, 2]);
  });

  it("uses the model that is embedded", async () => {
    await cli.refused(["patch", "-"], /No model is embedded here; name the folder of one with --model/, { input: "a" });
    cpSync(model, join(cli.folder, "models/tiny"), { recursive: true });
    try {
      const result = await cli.json(["patch", "-"], { input: "ab" });
      assert.equal(result.model, join(cli.folder, "models/tiny"));
      writeFileSync(join(cli.folder, "models/tiny/config.json"), "{");
      await cli.refused(["patch", "-"], /models.tiny.config\.json/, { input: "ab" });
    } finally {
      rmSync(join(cli.folder, "models/tiny"), { recursive: true });
    }
  });

  it("tells of a defect in one sentence, with the stack only on demand", async () => {
    const defect = path("defect.cjs");
    writeFileSync(defect, 'require("node:util").parseArgs = () => { throw new Error("a defect"); };');
    const env = { NODE_OPTIONS: `--require ${defect}` };
    const brief = await cli.run(["patch", "-"], { env });
    assert.deepEqual(brief, {
      code: 1,
      stdout: "",
      stderr: "blt: Internal error: a defect. Set BLT_DEBUG=1 for the details, and please report it.\n",
    });
    const explained = await cli.run(["patch", "-"], { env: { ...env, BLT_DEBUG: "1" } });
    assert.match(explained.stderr, /Error: a defect\n +at /);
  });

  it("ends in silence when nobody reads on", async function () {
    if (process.platform === "win32") this.skip();
    writeFileSync(path("text"), Buffer.alloc(3_000_000, "many words "));
    for (const json of [[], ["--json"]]) {
      const child = cli.start(["patch", path("text"), "--mode", "byte", "--model", model, ...json]);
      const done = cli.outcome(child);
      child.stdout?.once("data", () => child.stdout?.destroy());
      const { code, stderr } = await done;
      assert.deepEqual([code, stderr], [0, ""]);
    }
  });

  it("ends at Ctrl-C while it writes text", async function () {
    if (process.platform === "win32") this.skip();
    const child = cli.start(["generate", "Hello", "--model", model, "--max-bytes", "1000000"]);
    const done = cli.outcome(child);
    await once(child.stdout!, "data");
    child.kill("SIGINT");
    const { code, stderr } = await done;
    assert.deepEqual([code, stderr], [130, ""]);
  });

  it("ends at Ctrl-C while it waits for its input", async function () {
    if (process.platform === "win32") this.skip();
    const child = cli.start(["patch", "-", "--model", model]);
    const done = cli.outcome(child);
    // More than the pipe holds, so that the program has begun to read when all is written.
    await new Promise((resolve) => child.stdin?.write(Buffer.alloc(2 ** 22), resolve));
    child.kill("SIGINT");
    const { code, stderr } = await done;
    assert.deepEqual([code, stderr], [130, ""]);
  });

  it("leaves nothing behind at Ctrl-C while it quantises", async function () {
    if (process.platform === "win32") this.skip();
    // A large hash table without a byte on the disk, so that there is time.
    const tensors = goldenWith("k2", { [hashTable]: { dtype: "F32", shape: [0, 16], bytes: new Uint8Array() } });
    writeCheckpointFolder(path("large"), { ...goldenConfig("k2"), encoder_hash_byte_group_vocab: 2_000_000 }, tensors);
    growHashTable(path("large/model.safetensors"), 12_000_000);
    const child = cli.start(["quantize", path("large"), path("out")]);
    const done = cli.outcome(child);
    while (namesIn(path()).length < 2) await setTimeout(10);
    child.kill("SIGINT");
    const { code, stderr } = await done;
    assert.deepEqual([code, stderr], [130, ""]);
    assert.deepEqual(namesIn(path()), ["large"]);
  });
});

/** Gives the hash table of the checkpoint in this file so many rows of zeros, which take no room on the disk. */
function growHashTable(path: string, rows: number): void {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString("utf8", 8, 8 + length));
  const data = file.subarray(8 + length);
  const end = data.length + rows * 16 * 4;
  header[hashTable] = { dtype: "F32", shape: [rows, 16], data_offsets: [data.length, end] };
  const grown = safetensors(header, data);
  writeFileSync(path, grown);
  truncateSync(path, grown.length + end - data.length);
}
