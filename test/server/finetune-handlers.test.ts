/** Fine-tuning and adapters as a client sees them, with the server and its processes as they are. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openModel } from "../../model-runtime/model/load-model";
import { writeAdapter } from "../../model-runtime/training/adapter-file";
import { adapterBase } from "../../model-runtime/training/kit";
import {
  ADAPTER_ACTION_REQUEST,
  ADAPTERS_REQUEST,
  type AdapterAction,
  type AdapterInfo,
  CONTROL_REQUEST,
  PREVIEW_REQUEST,
  type Preview,
  type Refused,
  RUN_NOTIFICATION,
  type RunState,
  START_REQUEST,
} from "../../server/finetune-protocol";
import type { Status } from "../../server/protocol";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";
import { randomAdapter } from "../model-runtime/training/adapter-fixture";
import { writeWorkspace } from "../model-runtime/training/workspace-fixture";
import { buildServer, LspClient } from "./lsp-client";

const model = join(__dirname, "../golden/k2");
const layer = "model.local_decoder.cross_attn_layers.0.q_proj";

describe("fine-tuning over the protocol", function () {
  this.timeout(300_000);
  const path = useTemporaryFolder();
  let folder = "";
  let client: LspClient;
  let runs: RunState[];
  let changed: () => void;

  before(async () => {
    folder = await buildServer();
  });
  after(() => rmSync(folder, { recursive: true }));
  afterEach(async () => {
    client.connection.dispose();
    client.process.kill("SIGKILL");
  });

  async function start(storage: object = { storageFolder: path("storage"), sharedFolder: path("shared") }) {
    client = new LspClient({
      program: join(folder, "server.js"),
      configuration: { modelPath: model, threads: 1, device: "cpu" },
      initializationOptions: storage,
    });
    runs = [];
    changed = () => undefined;
    client.connection.onNotification(RUN_NOTIFICATION, (state: RunState) => {
      runs.push(state);
      changed();
    });
    await client.initialize();
  }

  const ask = <R>(method: string, params: object = {}): Promise<R | Refused> =>
    client.connection.sendRequest(method, params);
  const act = (action: AdapterAction) => ask<AdapterInfo[]>(ADAPTER_ACTION_REQUEST, action);

  async function run(isWanted: (state: RunState) => boolean): Promise<RunState> {
    for (;;) {
      const found = runs.find(isWanted);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        changed = resolve;
      });
    }
  }

  it("previews, starts, refuses a second run, and cancels", async () => {
    mkdirSync(path("workspace"));
    writeWorkspace(path("workspace"));
    await start();
    const params = { folder: path("workspace"), filesExclude: {} };
    const preview = (await ask<Preview>(PREVIEW_REQUEST, params)) as Preview;
    assert.deepEqual([preview.files, preview.folders.length, preview.model], [14, 4, "k2"]);
    const begin = { ...params, without: ["part3"], minutes: 5 };
    assert.equal(await ask(START_REQUEST, begin), null);
    await run((state) => state.kind === "running");
    const second = (await ask(START_REQUEST, begin)) as Refused;
    assert.match(second.problem, /^Fine-tuning goes on already/);
    assert.equal(await ask(CONTROL_REQUEST, { action: "cancel" }), null);
    await run((state) => state.kind === "none");
    assert.ok(!existsSync(path("storage/fine-tuning/run/run.json")));
  });

  it("says why nothing can be learned", async () => {
    mkdirSync(path("workspace"));
    await start();
    const refused = (await ask(PREVIEW_REQUEST, { folder: path("workspace"), filesExclude: {} })) as Refused;
    assert.match(refused.problem, /^There is no text to learn from in /);
    const params = { folder: path("workspace"), filesExclude: {}, without: [], minutes: 1 };
    assert.equal(await ask(START_REQUEST, params), null);
    const failed = await run((state) => state.kind === "failed");
    assert.match((failed as { sentence: string }).sentence, /^There is no text to learn from in /);
  });

  it("learns nothing without a place of its own", async () => {
    await start({});
    const refused = (await ask(PREVIEW_REQUEST, { folder: path("."), filesExclude: {} })) as Refused;
    assert.match(refused.problem, /^Open a folder first/);
  });

  it("imports an adapter, uses it in the loaded model, goes back, and refuses another model's", async () => {
    const checkpoint = openModel(model);
    await writeAdapter(path("from"), randomAdapter(checkpoint, [layer]), adapterBase(checkpoint));
    const other = openModel(join(__dirname, "../golden/lexicon/blocks"));
    const names = ["model.global_transformer.layers.1.self_attn.q_proj"];
    await writeAdapter(path("other"), randomAdapter(other, names), adapterBase(other));
    await start();
    await client.status(({ state }: Status) => state.kind === "ready");
    assert.deepEqual(await ask(ADAPTERS_REQUEST), []);
    const refused = (await act({ action: "import", folder: path("other") })) as Refused;
    assert.match(refused.problem, /was trained on another model than .*k2/);
    const [info] = (await act({ action: "import", folder: path("from") })) as AdapterInfo[];
    assert.deepEqual([info.isInUse, info.problem, info.files], [true, null, 12]);
    await client.status(({ state }) => state.kind === "ready" && state.adapter === info.id);
    const seen = client.statuses.length;
    await act({ action: "use", id: null });
    while (!client.statuses.slice(seen).some(({ state }) => state.kind === "ready" && state.adapter === null))
      await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(!client.statuses.some(({ state }) => state.kind === "problem"));
    assert.equal(client.statuses.filter(({ state }) => state.kind === "loading").length, firstLoading(client));
    assert.deepEqual(await act({ action: "delete", id: info.id }), []);
  });
});

/** Loading states before the first time the model was ready. */
function firstLoading({ statuses }: LspClient): number {
  const ready = statuses.findIndex(({ state }) => state.kind === "ready");
  return statuses.slice(0, ready).filter(({ state }) => state.kind === "loading").length;
}
