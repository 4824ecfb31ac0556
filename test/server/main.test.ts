import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, cpSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  CancellationTokenSource,
  type InlineCompletionItem,
  type TextDocumentContentChangeEvent,
} from "vscode-languageserver/node";
import { createRandom } from "../../model-runtime/generation/random";
import { MAX_DOCUMENT_LENGTH } from "../../server/documents";
import {
  type Decision,
  MEASUREMENTS_REQUEST,
  type Measurements,
  RESTART_MODEL_REQUEST,
  STATUS_REQUEST,
  type Status,
  WHY_REQUEST,
} from "../../server/protocol";
import { buildServer, type ClientOptions, LspClient } from "./lsp-client";

const tiny = join(__dirname, "../../models/tiny");
const golden = join(__dirname, "../golden/k2");
const uri = "file:///a.ts";
const usable = { modelPath: tiny, minConfidence: 0, delay: 0, threads: 1, maxSuggestionBytes: 24 };

const isReady = ({ state }: Status) => state.kind === "ready";
const isProblem = ({ state }: Status) => state.kind === "problem";

type Options = Omit<ClientOptions, "program">;

let folder = "";
const clients: LspClient[] = [];

/** A server that is ended after the test, whatever happens. */
function create(options: Options = { configuration: usable }): LspClient {
  const client = new LspClient({ ...options, program: join(folder, "server.js") });
  clients.push(client);
  return client;
}

async function started(options?: Options): Promise<LspClient> {
  const client = create(options);
  await client.initialize();
  return client;
}

async function ready(options?: Options): Promise<LspClient> {
  const client = await started(options);
  await client.status(isReady);
  return client;
}

async function why(client: LspClient): Promise<Decision> {
  const [decision] = await client.connection.sendRequest<Decision[]>(WHY_REQUEST, {});
  return decision;
}

async function statusNow(client: LspClient): Promise<Status> {
  return client.connection.sendRequest(STATUS_REQUEST);
}

/** What the server measured since the last call. */
function measured(client: LspClient): Promise<Measurements> {
  return client.connection.sendRequest(MEASUREMENTS_REQUEST, { reset: true });
}

/** `text` with the item inserted. */
function accepted(text: string, items: InlineCompletionItem[]): string {
  assert.ok(items.length >= 1, "an item was expected");
  const { insertText, range } = items[0];
  const lines = text.split(/(?<=\n)/);
  const { start, end } = range!;
  assert.equal(start.line, end.line);
  const line = lines[start.line] ?? "";
  lines[start.line] = line.slice(0, start.character) + insertText + line.slice(end.character);
  return lines.join("");
}

describe("language server", () => {
  before(async () => {
    folder = await buildServer();
  });
  after(() => rmSync(folder, { recursive: true }));
  afterEach(() => {
    for (const { process, connection } of clients.splice(0)) {
      connection.dispose();
      process.kill("SIGKILL");
    }
  });

  it("says what it can do, and ends when told to", async () => {
    const client = create();
    const { capabilities, serverInfo } = (await client.initialize()) as Record<string, Record<string, unknown>>;
    assert.deepEqual(capabilities, {
      positionEncoding: "utf-16",
      textDocumentSync: { openClose: true, change: 2 },
      inlineCompletionProvider: true,
      workspace: { workspaceFolders: { supported: true, changeNotifications: true } },
    });
    assert.equal(serverInfo.name, "blt");
    await client.status(isReady);
    assert.equal(await client.stop(), 0);
    assert.equal(client.errors, "");
  });
  it("ends while the model loads and while it works", async () => {
    const loading = await started();
    assert.equal(await loading.stop(), 0);
    const working = await ready({ configuration: { ...usable, maxSuggestionBytes: 4096 } });
    await working.open(uri, "const a = ");
    const item = working.complete(uri, 0, 10, { invoked: true });
    await working.status(({ state }) => state.kind === "working");
    assert.equal(await working.stop(), 0);
    assert.deepEqual(await item, []);
  });
  it("ends with code 1 when its client vanishes", async () => {
    const client = await started();
    const exited = once(client.process, "exit");
    client.process.stdin.end();
    assert.equal((await exited)[0], 1);
  });

  it("leaves nothing of its own or of onnxruntime's in the user's folders", async () => {
    const home = mkdtempSync(join(tmpdir(), "blt-home-"));
    // Nothing else of the environment: onnxruntime sends nothing by itself where it recognises a CI.
    const environment = { HOME: home, USERPROFILE: home, TMPDIR: home, TEMP: home, PATH: process.env.PATH };
    const client = await ready({ configuration: usable, environment });
    await client.open(uri, "const a = ");
    await client.complete(uri, 0, 10);
    assert.equal(await client.stop(), 0);
    assert.deepEqual(readdirSync(home, { recursive: true }), []);
    rmSync(home, { recursive: true });
  });

  it("completes", async () => {
    const client = await ready();
    const text = "function add(a: number, b: number) {\n  return ";
    await client.open(uri, text);
    const result = accepted(text, await client.complete(uri, 1, 9));
    assert.ok(result.startsWith(text) && result.length > text.length);
    assert.equal((await why(client)).reason, "shown");
    assert.equal(typeof (await statusNow(client)).state, "object");
  });
  it("answers requests made while the model loads", async () => {
    const client = await started();
    await client.open(uri, "const a = ");
    accepted("const a = ", await client.complete(uri, 0, 10));
  });
  it("answers what is typed as suggested from its cache", async () => {
    const client = await ready();
    await client.open(uri, "const a = ");
    await measured(client);
    const [item] = await client.complete(uri, 0, 10, { invoked: true });
    for (let length = 1; length <= 4; length++) {
      await client.insert(uri, 0, 9 + length, (item.insertText as string)[length - 1]);
      const items = await client.complete(uri, 0, 10 + length, { invoked: true });
      assert.equal(items[0].insertText, (item.insertText as string).slice(length));
    }
    const { answers, processedBytes } = await measured(client);
    assert.deepEqual(answers, { fromModel: 1, fromRunning: 0, fromCache: 4 });
    assert.equal(processedBytes, 11);
  });
  it("reads only what was typed", async () => {
    const client = await ready();
    await client.open(uri, "import a from 'a';\n");
    await client.complete(uri, 1, 0, { invoked: true });
    await client.insert(uri, 1, 0, "zq");
    await measured(client);
    await client.complete(uri, 1, 2, { invoked: true });
    const { processedBytes, reusedBytes } = await measured(client);
    assert.ok(processedBytes <= 2, `${processedBytes} bytes were read again`);
    assert.equal(processedBytes + reusedBytes, 1 + "import a from 'a';\nzq".length);
  });
  it("answers a cancelled request with an empty list at once", async () => {
    const client = await ready({ configuration: { ...usable, maxSuggestionBytes: 4096 } });
    await client.open(uri, "const a = ");
    const source = new CancellationTokenSource();
    const items = client.complete(uri, 0, 10, { invoked: true, token: source.token });
    await client.status(({ state }) => state.kind === "working");
    source.cancel();
    assert.deepEqual(await items, []);
    assert.equal((await why(client)).reason, "cancelled");
  });
  it("answers the newest of many requests", async () => {
    const client = await ready();
    await client.open(uri, "");
    const typed = "const value = ";
    const requests = [...typed].map(async (letter, index) => {
      await client.insert(uri, 0, index, letter);
      return client.complete(uri, 0, index + 1);
    });
    const items = await Promise.all(requests);
    accepted(typed, items.at(-1)!);
  });

  describe("with any text", () => {
    it("keeps CRLF line ends", async () => {
      const client = await ready();
      const text = "if (a) {\r\n  b();\r\n}\r\nfoo(";
      await client.open(uri, text);
      const result = accepted(text, await client.complete(uri, 3, 4));
      assert.ok(result.startsWith(text));
      const several = await client.complete(uri, 3, 4, { invoked: true });
      for (const { insertText } of several) assert.doesNotMatch(insertText as string, /(?<!\r)\n|\r(?!\n)/);
    });
    it("reads the same context whatever the line ends and the byte order mark", async () => {
      const client = await ready();
      await client.open(uri, "a = 1;\nb = 2;\nc = ");
      await client.open("file:///b.ts", "\uFEFFa = 1;\r\nb = 2;\r\nc = ");
      await client.complete(uri, 2, 4, { invoked: true });
      await measured(client);
      await client.complete("file:///b.ts", 2, 4, { invoked: true });
      assert.equal((await measured(client)).processedBytes, 1);
    });
    it("counts positions in UTF-16 code units", async () => {
      const client = await ready();
      const text = 'const face = "😀😀"; const a = ';
      await client.open(uri, text);
      await client.insert(uri, 0, 16, "é");
      const changed = 'const face = "😀é😀"; const a = ';
      const result = accepted(changed, await client.complete(uri, 0, changed.length, { invoked: true }));
      assert.ok(result.startsWith(changed));
      await measured(client);
      await client.open("file:///b.ts", changed);
      await client.complete("file:///b.ts", 0, changed.length, { invoked: true });
      const { processedBytes, reusedBytes } = await measured(client);
      assert.deepEqual({ processedBytes, reusedBytes }, { processedBytes: 1, reusedBytes: Buffer.byteLength(changed) });
    });
    it("reads a lone surrogate as U+FFFD", async () => {
      const client = await ready();
      await client.open(uri, "// \uFFFD\na = ");
      await client.complete(uri, 1, 4, { invoked: true });
      await client.open("file:///b.ts", "// \uD83D\na = ");
      await measured(client);
      await client.complete("file:///b.ts", 1, 4, { invoked: true });
      assert.equal((await measured(client)).processedBytes, 1);
    });
    it("answers beyond the document's end as at it", async () => {
      const client = await ready();
      await client.open(uri, "a = ");
      const items = await client.complete(uri, 7, 99);
      accepted("a = ", items);
    });
  });

  it("holds the document's text after a thousand edits", async () => {
    const client = await ready({ configuration: { ...usable, contextBytes: 32768 } });
    const random = createRandom(4);
    const pieces = ["a", "\n", "\r\n", "😀", "é", "  ", "foo(bar);\n", "\uD83D", "x = 1"];
    let text = "const a = 1;\r\n";
    await client.open(uri, text);
    for (let edit = 0; edit < 1000; edit++) {
      const start = outsideLineEnds(text, Math.floor(random() * (text.length + 1)));
      const end = random() < 0.75 ? start : outsideLineEnds(text, Math.min(text.length, start + 6));
      const inserted = pieces[Math.floor(random() * pieces.length)];
      const range = { start: positionOf(text, start), end: positionOf(text, Math.max(start, end)) };
      const changes: TextDocumentContentChangeEvent[] = [{ range, text: inserted }];
      await client.change(uri, changes);
      text = text.slice(0, start) + inserted + text.slice(Math.max(start, end));
    }
    const last = positionOf(text, text.length);
    const bytes = Buffer.byteLength(text.replaceAll("\r\n", "\n").replaceAll("\r", "\n"));
    assert.ok(bytes > 1000 && bytes < 32768, `${bytes} bytes`);
    await client.complete(uri, last.line, last.character, { invoked: true });
    await client.open("file:///b.ts", text);
    await measured(client);
    await client.complete("file:///b.ts", last.line, last.character, { invoked: true });
    // All but the last byte were read from the edited document already.
    const { processedBytes, reusedBytes } = await measured(client);
    assert.equal(processedBytes, 1);
    assert.ok(reusedBytes > 900, `${reusedBytes}`);
  });

  describe("with wrong input", () => {
    /** The server still answers. */
    const isAlive = async (client: LspClient) => assert.equal((await statusNow(client)).state.kind, "ready");

    it("refuses requests without what they need, and goes on", async () => {
      const client = await ready();
      const wrong = [{}, [1], { textDocument: { uri } }, { textDocument: null, position: 3 }];
      for (const params of wrong) {
        await assert.rejects(client.connection.sendRequest<unknown>("textDocument/inlineCompletion", params as object));
      }
      await assert.rejects(client.connection.sendRequest("textDocument/noSuchThing", {}), /Unhandled method/);
      await isAlive(client);
    });
    it("goes on after notifications that make no sense", async () => {
      const client = await ready();
      await client.connection.sendNotification("textDocument/didChange", { textDocument: { uri: "file:///no" } });
      await client.insert("file:///never-opened", 0, 0, "a");
      await client.connection.sendNotification("textDocument/didOpen", {});
      await client.connection.sendNotification("no/such/thing", [1]);
      await isAlive(client);
    });
    it("goes on after a message that is no JSON", async () => {
      const client = await ready();
      client.process.stdin.write("Content-Length: 9\r\n\r\nnot JSON!");
      await isAlive(client);
    });
    it("completes nothing in a document that is not open", async () => {
      const client = await ready();
      assert.deepEqual(await client.complete("file:///no.ts", 0, 0), []);
      assert.equal((await why(client)).reason, "unknownDocument");
    });
    it("declines a document that is too large, and says so", async () => {
      const client = await ready();
      for (const length of [MAX_DOCUMENT_LENGTH + 1, 50_000_000]) {
        await client.open(uri, "x".repeat(length));
        await client.insert(uri, 0, 0, "y");
        assert.deepEqual(await client.complete(uri, 0, 5, { invoked: true }), []);
        const { reason, sentence } = await why(client);
        assert.equal(reason, "documentTooLarge");
        assert.match(sentence, /^a\.ts is too large: .* 1,200,000 characters/);
      }
    });
    it("writes nothing, so that a folder may be read-only", async () => {
      const workspace = mkdtempSync(join(tmpdir(), "blt-read-only-"));
      try {
        cpSync(tiny, join(workspace, "model"), { recursive: true });
        const files = () =>
          readdirSync(workspace, { recursive: true, encoding: "utf8" })
            .sort()
            .map((name) => [name, statSync(join(workspace, name)).mtimeMs]);
        for (const name of ["model", "."]) chmodSync(join(workspace, name), 0o555);
        const before = files();
        const client = await ready({
          configuration: { ...usable, modelPath: "model" },
          workspaceFolder: pathToFileURL(workspace).href,
        });
        const own = pathToFileURL(join(workspace, "a.ts")).href;
        await client.open(own, "const a = ");
        assert.ok((await client.complete(own, 0, 10, { invoked: true })).length >= 1);
        assert.equal(await client.stop(), 0);
        assert.deepEqual(files(), before);
      } finally {
        for (const name of [".", "model"]) chmodSync(join(workspace, name), 0o755);
        rmSync(workspace, { recursive: true });
      }
    });
    it("declines binary documents, and untitled ones are fine", async () => {
      const client = await ready();
      await client.open(uri, "\0\x01\x02");
      assert.deepEqual(await client.complete(uri, 0, 3), []);
      assert.equal((await why(client)).reason, "binaryDocument");
      await client.open("untitled:Untitled-1", "const a = ");
      accepted("const a = ", await client.complete("untitled:Untitled-1", 0, 10));
    });
  });

  describe("with settings", () => {
    it("from initializationOptions works in any editor", async () => {
      const client = await ready({ initializationOptions: usable });
      assert.deepEqual((await statusNow(client)).state, {
        kind: "ready",
        model: "tiny",
        adapter: null,
        device: "cpu",
        kernel: null,
        lastMs: null,
      });
    });
    it("of a wrong type uses the default and says so", async () => {
      const client = await ready({ configuration: { ...usable, contextBytes: "many", device: "abacus" } });
      const { notices } = await statusNow(client);
      assert.equal(notices.length, 2);
      assert.match(notices[1], /^Setting blt\.contextBytes must be a whole number from 256 to 32768, not "many"; 4096/);
    });
    it("that the editor fails to tell takes the initial ones", async () => {
      const client = await ready({ configuration: new Error("no settings here"), initializationOptions: usable });
      const { state } = await statusNow(client);
      assert.equal(state.kind === "ready" && state.model, "tiny");
    });
    it("that change takes them over", async () => {
      const client = await ready();
      client.configuration = { ...usable, enable: false };
      await client.connection.sendNotification("workspace/didChangeConfiguration", { settings: null });
      await client.status(({ state }) => state.kind === "paused");
      await client.open(uri, "const a = ");
      assert.deepEqual(await client.complete(uri, 0, 10), []);
      assert.equal((await why(client)).reason, "disabled");
      client.configuration = { ...usable, languages: { typescript: false } };
      await client.connection.sendNotification("workspace/didChangeConfiguration", { settings: null });
      await client.complete(uri, 0, 10);
      assert.equal((await why(client)).reason, "languageDisabled");
    });
    it("that are sent with the change takes them over", async () => {
      const client = await ready({ initializationOptions: usable });
      const settings = { blt: { ...usable, enable: false } };
      await client.connection.sendNotification("workspace/didChangeConfiguration", { settings });
      await client.status(({ state }) => state.kind === "paused");
    });
    it("about the model's folder starts from the workspace", async () => {
      const workspaceFolder = pathToFileURL(join(__dirname, "../..")).href;
      const client = await ready({ configuration: { ...usable, modelPath: "models/tiny" }, workspaceFolder });
      assert.equal((await statusNow(client)).state.kind, "ready");
    });
    it("frees the model when idle, and loads it again", async () => {
      const client = await started({ configuration: { ...usable, unloadAfterMinutes: 0.001 } });
      await client.status(({ state }) => state.kind === "unloaded");
      await client.open(uri, "const a = ");
      client.configuration = usable;
      await client.connection.sendNotification("workspace/didChangeConfiguration", { settings: null });
      accepted("const a = ", await client.complete(uri, 0, 10));
    });
  });

  describe("with models", () => {
    it("that are none says so, goes on, and takes another one", async () => {
      const client = await started({ configuration: { ...usable, modelPath: __dirname } });
      const { state } = await client.status(isProblem);
      assert.match(state.kind === "problem" ? state.sentence : "", /config\.json/);
      await client.open(uri, "const a = ");
      assert.deepEqual(await client.complete(uri, 0, 10), []);
      assert.equal((await why(client)).reason, "modelProblem");
      client.configuration = usable;
      await client.connection.sendNotification("workspace/didChangeConfiguration", { settings: null });
      await client.status(isReady);
      accepted("const a = ", await client.complete(uri, 0, 10));
    });
    it("that are deleted while loaded go on until they are loaded again", async () => {
      const folder = mkdtempSync(join(tmpdir(), "blt-deleted-"));
      cpSync(golden, folder, { recursive: true });
      const client = await ready({ configuration: { ...usable, modelPath: folder } });
      rmSync(folder, { recursive: true });
      await client.open(uri, "const a = ");
      await client.complete(uri, 0, 10);
      assert.notEqual((await why(client)).reason, "modelProblem");
      await client.connection.sendRequest(RESTART_MODEL_REQUEST);
      const { state } = await client.status(isProblem);
      assert.match(state.kind === "problem" ? state.sentence : "", /^There is no folder .*blt-deleted-/);
      assert.deepEqual(await client.complete(uri, 0, 10), []);
    });
    it("that load are shown as work in progress", async () => {
      const client = create({ configuration: usable, capabilities: { window: { workDoneProgress: true } } });
      const kinds: string[] = [];
      client.connection.onNotification("$/progress", (params: { value: { kind: string } }) => {
        kinds.push(params.value.kind);
      });
      await client.initialize();
      await client.status(isReady);
      await statusNow(client);
      assert.equal(kinds[0], "begin");
      assert.equal(kinds.at(-1), "end");
    });
  });
});

function outsideLineEnds(text: string, offset: number): number {
  return text[offset - 1] === "\r" && text[offset] === "\n" ? offset - 1 : offset;
}

function positionOf(text: string, offset: number): { line: number; character: number } {
  const lines = text.slice(0, offset).split(/\r\n|\n|\r/);
  return { line: lines.length - 1, character: lines[lines.length - 1].length };
}
