import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRandom } from "../../../model-runtime/generation/random";
import { openModel } from "../../../model-runtime/model/load-model";
import { readAdapter } from "../../../model-runtime/training/adapter-file";
import { adapterBase } from "../../../model-runtime/training/kit";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { writeWorkspace } from "../training/workspace-fixture";
import { useCli } from "./cli";

const model = "test/golden/lexicon/blocks";

describe("blt finetune", function () {
  // Runs have seconds of their own, which a loaded machine stretches.
  this.timeout(300_000);
  const cli = useCli();
  const path = useTemporaryFolder();
  const args = (more: readonly string[] = []) => [
    ...["finetune", path("workspace"), "--out", path("out"), "--model", model, "--device", "cpu", "--threads", "1"],
    ...["--rank", "4", "--lr", "0.01", "--layers", "2", "--minutes", "0.2", ...more],
  ];

  beforeEach(() => mkdirSync(path("workspace"), { recursive: true }));

  it("learns an adapter that the other commands use, and says what it gained", async () => {
    writeWorkspace(path("workspace"));
    const { code, stdout, stderr } = await cli.run(args(["--steps", "12", "--json"]));
    assert.deepEqual([stderr, code], ["", 0]);
    const events = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const report = events.at(-1);
    assert.equal(report.type, "report");
    assert.deepEqual(
      events.filter(({ type, fraction }) => type === "phase" && fraction === 0).map(({ phase }) => phase),
      ["reading", "scoring", "loading", "training", "judging"],
    );
    const { bpb } = report.verdict.heldOut;
    assert.ok(report.verdict.isUsed, report.verdict.reason);
    assert.ok(bpb.after < bpb.before, `${bpb.before} -> ${bpb.after}`);
    assert.ok(report.verdict.interval[1] < 0);
    for (const key of ["loss", "perplexity", "accuracy", "heldOutBpb", "rate", "memoryMb", "seconds"])
      assert.ok(Number.isFinite(report.history.at(-1)[key]), key);
    const { card } = readAdapter(path("out"), adapterBase(openModel(model)));
    assert.deepEqual(card!.heldOut, bpb);
    assert.deepEqual(readdirSync(path("out/run")), []);
    const again = await cli.json(["eval", "--adapter", path("out"), "--model", model, "--device", "cpu"]);
    assert.ok(Math.abs(again.bpb.after - bpb.after) < 0.02 && again.bpb.after < again.bpb.before);
    const file = path("workspace/part0/file0.ts");
    const [base, adapted] = [
      await cli.json(["eval", file, "--model", model, "--device", "cpu"]),
      await cli.json(["eval", file, "--adapter", path("out"), "--model", model, "--device", "cpu"]),
    ];
    assert.ok(adapted.bpb < base.bpb, `${base.bpb} -> ${adapted.bpb}`);
    await cli.refused(
      ["generate", "x", "--adapter", path("out"), "--model", "test/golden/lexicon/plain", "--device", "cpu"],
      /was trained on another model than/,
    );
  });

  it("goes on, or begins anew, wherever it was killed; the model without it always works", async () => {
    writeWorkspace(path("workspace"), 8);
    const random = createRandom(4);
    const endless = args(["--steps", "100000", "--json"]);
    let resumed = 0;
    for (let kills = 0; kills < 20; ) {
      const child = cli.start(endless);
      const ended = cli.outcome(child);
      // Also before anything is written, and while files that belong together are.
      await killAfter(child, 1 + Math.floor(random() * 30), random() * 30);
      const { stdout, stderr, code } = await ended;
      // Taken up again and again, a run comes to its end some time; then another one begins.
      assert.ok(code === null || code === 0, stderr);
      if (code === null) kills++;
      if (/Going on from step/.test(stdout)) resumed++;
      if (existsSync(path("out/adapter_config.json")))
        assert.ok(JSON.parse(readFileSync(path("out/report.json"), "utf8")).verdict.isUsed);
    }
    assert.ok(resumed > 0, "no run went on from another's state");
    const { code, stderr } = await cli.run(args(["--steps", "3"]));
    assert.equal(code, 0, stderr);
    assert.deepEqual(readdirSync(path("out/run")), []);
    assert.ok(existsSync(path("out/report.json")));
    const { code: written } = await cli.run(["generate", "const ", "--model", model, "--device", "cpu"]);
    assert.equal(written, 0);
  });

  it("learns from what it has read when files change or vanish meanwhile", async () => {
    writeWorkspace(path("workspace"));
    const child = cli.start(args(["--steps", "4", "--json"]));
    const ended = cli.outcome(child);
    await lineWith(child, '"type":"data"');
    writeFileSync(path("workspace/part0/file0.ts"), "const changed = 1;\n");
    rmSync(path("workspace/part1"), { recursive: true });
    const { stdout, stderr, code } = await ended;
    assert.deepEqual([stderr, code], ["", 0]);
    assert.equal(JSON.parse(stdout.trim().split("\n").at(-1)!).type, "report");
  });

  it("says so when the disk takes no state, trains on, and leaves no half of an adapter", async function () {
    if (process.platform === "win32") this.skip();
    writeWorkspace(path("workspace"));
    // Settings fit into the limit (of blocks of 512 bytes), a state does not, nor does an adapter.
    writeFileSync(path("limited.sh"), 'ulimit -f 20; exec "$@"');
    const { code, stdout, stderr } = await cli.run(args(["--steps", "12"]), { wrapper: ["sh", path("limited.sh")] });
    assert.match(stderr, /The state of the run could not be written to .*; training goes on/);
    assert.match(stderr, /would be larger than files may be there/);
    assert.equal(code, 2, stdout);
    assert.ok(!existsSync(path("out/adapter_config.json")));
    assert.deepEqual(
      readdirSync(path("out")).filter((name) => name.includes("partial")),
      [],
    );
  });

  it("keeps its state when it is interrupted, and goes on with it", async () => {
    writeWorkspace(path("workspace"));
    const child = cli.start(args(["--steps", "30", "--json"]));
    const ended = cli.outcome(child);
    await lineWith(child, '"type":"step"');
    child.kill("SIGTERM");
    assert.equal((await ended).code, 143);
    assert.ok(existsSync(path("out/run/state.safetensors")));
    const { stdout, code } = await cli.run(args(["--steps", "30", "--json"]));
    assert.equal(code, 0);
    assert.match(stdout, /Going on from step \d+/);
  });

  it("refuses a second run in the same folder", async () => {
    writeWorkspace(path("workspace"));
    const child = cli.start(args(["--minutes", "1", "--json"]));
    const ended = cli.outcome(child);
    await lineWith(child, '"type":"data"');
    await cli.refused(
      args(),
      /^blt: Process \d+ is fine-tuning in .* already; wait until it is done, or cancel it first\.$/m,
    );
    child.kill("SIGKILL");
    await ended;
  });

  it("discards an adapter that is not better, and says so", async () => {
    writeWorkspace(path("workspace"));
    // So small a rate changes nothing.
    const { code, stdout } = await cli.run(args(["--steps", "2", "--lr", "1e-8"]));
    assert.equal(code, 0);
    assert.match(stdout, /^Discarded: not better beyond noise/);
    assert.ok(!existsSync(path("out/adapter_config.json")));
    assert.equal(JSON.parse(readFileSync(path("out/report.json"), "utf8")).verdict.isUsed, false);
  });

  it("steps back from losses that are not numbers, and stops with the best parameters", async () => {
    writeWorkspace(path("workspace"));
    const { code, stdout } = await cli.run(args(["--steps", "12", "--lr", "1", "--alpha", "10000", "--json"]));
    assert.equal(code, 0);
    const report = JSON.parse(stdout.trim().split("\n").at(-1)!);
    // Whatever such a rate does, what is judged is a number, and nothing worse is used.
    const { before, after } = report.verdict.heldOut.bpb;
    assert.ok(Number.isFinite(after));
    assert.ok(!report.verdict.isUsed || after < before);
  });

  const refusals: { name: string; prepare: () => void; sentence: RegExp }[] = [
    {
      name: "an empty folder",
      prepare: () => undefined,
      sentence: /There is no text to learn from in .*; fine-tuning takes at least 16 kB/,
    },
    {
      name: "three small files",
      prepare: () => {
        for (const name of ["a.ts", "b.ts", "c.ts"]) writeFileSync(path("workspace", name), `const ${name[0]} = 1;\n`);
      },
      sentence: /There is only 39 bytes of text in 3 files to learn from/,
    },
    {
      name: "files that are all ignored",
      prepare: () => {
        writeWorkspace(path("workspace"));
        writeFileSync(path("workspace/.bltignore"), "*\n");
      },
      sentence: /There is no text to learn from in .* \(\d+ passed over: ignored\)/,
    },
    {
      name: "a file that is too large",
      prepare: () => writeFileSync(path("workspace/a.ts"), "const a = 1;\n".repeat(100_000)),
      sentence: /There is no text to learn from in .* \(1 passed over: too large\)/,
    },
    {
      name: "links only",
      prepare: () => symlinkSync("/etc", path("workspace/etc"), "junction"),
      sentence: /no text to learn from in .* \(1 passed over: link\)/,
    },
  ];
  for (const { name, prepare, sentence } of refusals)
    it(`refuses ${name}`, async () => {
      prepare();
      await cli.refused(args(), sentence);
    });

  it("refuses settings that cannot be meant", async () => {
    await cli.refused(["finetune", path("workspace")], /Name the folder for the adapter with --out DIR/);
    await cli.refused(args(["--minutes", "0"]), /--minutes must be from 0.01 to 10000, not 0/);
    await cli.refused(args(["--targets", "q_proj,x_proj"]), /--targets knows no layers "x_proj"/);
    await cli.refused(args(["--lr", "5"]), /--lr must be from/);
  });

  it("learns from one large file by holding out its end", async () => {
    const line = "const value = con(total);\n    return value\n";
    writeFileSync(path("workspace/only.ts"), line.repeat(700));
    const { code, stdout } = await cli.run(args(["--steps", "2", "--json"]));
    assert.equal(code, 0);
    const report = JSON.parse(stdout.trim().split("\n").at(-1)!);
    assert.equal(report.heldOut.files, 1);
    assert.ok(report.heldOut.bytes > 2000 && report.heldOut.bytes < report.train.bytes / 4);
  });
});

/** Resolves when the process has written a line with this text, or has ended. */
async function lineWith(child: ChildProcess, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    child.on("exit", () => resolve());
    child.stdout!.on("data", (part: string) => part.includes(text) && resolve());
  });
}

/** Kills a process some milliseconds after it has written so many lines. */
async function killAfter(child: ChildProcess, lines: number, milliseconds: number): Promise<void> {
  let seen = 0;
  await new Promise<void>((resolve) => {
    child.on("exit", () => resolve());
    child.stdout!.on("data", (text: string) => {
      seen += text.split("\n").length - 1;
      if (seen >= lines) resolve();
    });
  });
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  child.kill("SIGKILL");
}
