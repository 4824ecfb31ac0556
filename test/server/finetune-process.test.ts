/** The process itself, forked as the server does it, on the smallest model there is. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { constants, getPriority } from "node:os";
import { join } from "node:path";
import type { FromProcess, ToProcess } from "../../server/finetune-protocol";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";
import { writeWorkspace } from "../model-runtime/training/workspace-fixture";

describe("fine-tuning process", function () {
  this.timeout(300_000);
  const path = useTemporaryFolder();
  const children: ChildProcess[] = [];

  beforeEach(() => {
    mkdirSync(path("workspace"), { recursive: true });
    writeWorkspace(path("workspace"));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });

  /** At the priority of others, unless it is about that: a loaded machine would leave it no time. */
  function start(
    out = "out",
    priority: number = constants.priority.PRIORITY_NORMAL,
  ): { child: ChildProcess; said: FromProcess[]; ended: Promise<unknown[]> } {
    const child = fork(join(__dirname, "../../server/finetune-process.ts"), [], {
      execArgv: ["--require", "tsx/cjs"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    children.push(child);
    const said: FromProcess[] = [];
    child.on("message", (message: FromProcess) => said.push(message));
    const message: ToProcess = {
      type: "start",
      root: path("workspace"),
      out: path(out),
      model: "test/golden/lexicon/blocks",
      device: "cpu",
      threads: 1,
      minutes: 5,
      filesExclude: {},
      without: [],
      lockFolder: path("lock"),
      priority,
    };
    child.send(message);
    return { child, said, ended: once(child, "exit") };
  }

  async function until(child: ChildProcess, said: FromProcess[], wanted: (message: FromProcess) => boolean) {
    if (said.some(wanted)) return;
    await new Promise<void>((resolve) => {
      child.on("message", () => said.some(wanted) && resolve());
      child.on("exit", () => resolve());
    });
  }
  const isStep = ({ type }: FromProcess) => type === "step";

  it("pauses, and ends early with a verdict when it is told so", async () => {
    const { child, said, ended } = start();
    await until(child, said, isStep);
    child.send({ type: "pause", isPaused: true } satisfies ToProcess);
    child.send({ type: "finish" } satisfies ToProcess);
    assert.deepEqual(await ended, [0, null]);
    const last = said.at(-1)!;
    assert.ok(last.type === "report", JSON.stringify(last));
    assert.equal(last.report.end, "asked");
    assert.ok(last.report.verdict.completions!.plain.lines > 0);
    assert.ok(!existsSync(path("out/run/run.json")));
  });

  it("keeps its state when the window is closed, and another one goes on with it", async () => {
    const first = start();
    await until(first.child, first.said, isStep);
    first.child.disconnect();
    assert.deepEqual(await first.ended, [0, null]);
    assert.ok(existsSync(path("out/run/state.safetensors")));
    const second = start();
    await until(second.child, second.said, isStep);
    assert.ok(second.said.some((message) => message.type === "notice" && /^Going on from step/.test(message.sentence)));
    second.child.kill("SIGKILL");
    await second.ended;
  });

  it("runs at low priority, one at a time, whatever folders they work in", async () => {
    const first = start("out", constants.priority.PRIORITY_BELOW_NORMAL);
    await until(first.child, first.said, ({ type }) => type === "data");
    assert.equal(getPriority(first.child.pid), constants.priority.PRIORITY_BELOW_NORMAL);
    const second = start("other");
    assert.deepEqual(await second.ended, [0, null]);
    const last = second.said.at(-1)!;
    assert.ok(last.type === "failed");
    assert.match(last.sentence, /^Process \d+ is fine-tuning .* already; wait until it is done, or cancel it first\.$/);
    first.child.kill("SIGKILL");
    await first.ended;
    const third = start("other");
    await until(third.child, third.said, ({ type }) => type === "data");
    assert.ok(third.said.some(({ type }) => type === "data"));
    third.child.kill("SIGKILL");
    await third.ended;
  });
});
