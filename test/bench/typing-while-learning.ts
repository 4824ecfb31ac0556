/**
 * How long suggestions take while the model learns, beside the same typing while the run is paused:
 *
 *     npm run build && npx tsx test/bench/typing-while-learning.ts FOLDER [--places 3] [--rounds 2]
 *
 * The real server and its process; the folder is what is learned from. Prints Markdown.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { CONTROL_REQUEST, RUN_NOTIFICATION, type RunState, START_REQUEST } from "../../server/finetune-protocol";
import { LspClient } from "../server/lsp-client";
import { describeMachine } from "./lib/machine";
import { spread } from "./lib/statistics";
import { Typist } from "./lib/typist";

const root = join(__dirname, "../..");
const uri = "file:///bench.js";
/** Scores of texts take a tenth of it before it begins to learn. */
const MINUTES = 5;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { places: { type: "string", default: "3" }, rounds: { type: "string", default: "2" } },
  });
  const storageFolder = mkdtempSync(join(tmpdir(), "blt-learning-"));
  const client = new LspClient({
    program: join(root, "dist/server.js"),
    configuration: {},
    initializationOptions: { storageFolder },
  });
  let state: RunState = { kind: "none" };
  let changed: () => void = () => undefined;
  client.connection.onNotification(RUN_NOTIFICATION, (next: RunState) => {
    state = next;
    changed();
  });
  const until = async (isWanted: (state: RunState) => boolean) => {
    while (!isWanted(state)) {
      if (state.kind === "failed") throw new Error(state.sentence);
      await new Promise<void>((done) => {
        changed = done;
      });
    }
  };
  try {
    await client.initialize();
    const text = readFileSync(join(root, "node_modules/mocha/lib/runner.js"), "utf8");
    await client.open(uri, text, "javascript");
    await client.status(({ state }) => state.kind === "ready");
    const params = { folder: resolve(positionals[0]), filesExclude: {}, without: [], minutes: MINUTES };
    await client.connection.sendRequest(START_REQUEST, params);
    const control = (action: string) => client.connection.sendRequest(CONTROL_REQUEST, { action });
    const steps = () => (state.kind === "running" ? (state.progress?.step ?? 0) : 0);
    await until(() => steps() > 0);
    const times = { paused: [] as number[], learning: [] as number[] };
    for (let round = 0; round < Number(values.rounds); round++)
      for (const kind of ["paused", "learning"] as const) {
        const before = steps();
        await control(kind === "paused" ? "pause" : "resume");
        // A step that had begun when it was told to pause goes on to its end.
        if (kind === "paused") await new Promise((done) => setTimeout(done, 15_000));
        else await until(() => steps() > before);
        await client.change(uri, [{ text }]);
        const typist = new Typist(client, uri, text, round);
        for (let place = 0; place < Number(values.places); place++) await typist.retype({ keyMs: null });
        times[kind].push(...typist.answers.filter(({ hasItem }) => hasItem).map(({ ms }) => ms));
      }
    const row = (name: string, { median }: { median: number }, count: number) =>
      `| ${name} | ${count} | ${Math.round(median)} ms |`;
    const { processor, cores } = describeMachine();
    console.log(`${processor}, ${cores} cores; didChange to item, a typist who waits for each answer

| | items | p50 |
|---|---|---|
${row("run paused", spread(times.paused), times.paused.length)}
${row("while it learns", spread(times.learning), times.learning.length)}

${(spread(times.learning).median / spread(times.paused).median).toFixed(2)} x`);
    await control("cancel");
  } finally {
    client.process.kill();
    rmSync(storageFolder, { recursive: true, force: true });
  }
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
