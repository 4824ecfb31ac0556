import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { LogMessageNotification } from "vscode-languageserver/node";
import { type Decision, WHY_REQUEST } from "../../server/protocol";
import { buildServer, LspClient } from "./lsp-client";

const settings = {
  modelPath: join(__dirname, "../../models/tiny"),
  minConfidence: 0,
  delay: 0,
  threads: 1,
  maxSuggestionBytes: 60,
};

describe("suggestions from the workspace", () => {
  let program = "";
  let root = "";
  let client: LspClient;
  let logged: string[];

  before(async () => {
    program = await buildServer();
  });
  after(() => rmSync(program, { recursive: true }));
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "blt-server-"));
    logged = [];
  });
  afterEach(() => {
    client.connection.dispose();
    client.process.kill("SIGKILL");
    rmSync(root, { recursive: true, force: true });
  });

  const uriOf = (name: string) => pathToFileURL(join(root, name)).href;

  async function start(configuration: object = settings): Promise<void> {
    client = new LspClient({
      program: join(program, "server.js"),
      configuration,
      workspaceFolder: pathToFileURL(root).href,
      capabilities: { workspace: { configuration: true, workspaceFolders: true } },
    });
    const counted = new Promise<void>((resolve) => {
      client.connection.onNotification(LogMessageNotification.type, ({ message }) => {
        logged.push(message);
        if (message.startsWith("Counted")) resolve();
      });
    });
    await client.initialize();
    await client.status(({ state }) => state.kind === "ready");
    if (!("workspace" in configuration)) await counted;
  }

  /** The suggestion at the end of a new document. */
  async function suggested(name: string, text: string): Promise<string> {
    await client.open(uriOf(name), text);
    const lines = text.split("\n");
    const items = await client.complete(uriOf(name), lines.length - 1, lines.at(-1)!.length, { invoked: true });
    return items.length === 0 ? "" : (items[0].insertText as string);
  }

  const law = "export const speedOfLightInVacuum = metresPerSecond(299792458);\n";

  it("are what the workspace's files say, and name the place", async () => {
    writeFileSync(join(root, "physics.ts"), `// constants\n${law.repeat(2)}`);
    await start();
    assert.match(logged.find((line) => line.startsWith("Counted"))!, /: 1 file with 0 kB of text\.$/);
    const text = "export const speedOfL";
    assert.ok((await suggested("new.ts", text)).startsWith("ightInVacuum = metresPerSecond(299792458);"));
    let decision: Decision;
    do {
      [decision] = await client.connection.sendRequest<Decision[]>(WHY_REQUEST, {});
    } while (decision.quote === undefined);
    assert.deepEqual(decision.quote, { path: "physics.ts", line: 3 });
  });

  it("know what was typed in another document and not saved, and what was forgotten since", async () => {
    await start();
    await client.open(uriOf("open.ts"), "");
    await client.insert(uriOf("open.ts"), 0, 0, law.repeat(3));
    const isKnown = async (name: string) =>
      (await suggested(name, "export const speedOfL")).startsWith("ightInVacuum = metres");
    // It is known, and forgotten again, when the rules have been asked about its place on the disk, a moment later.
    let asked = 0;
    while (!(await isKnown(`${asked}.ts`))) asked++;
    await client.connection.sendNotification("textDocument/didClose", { textDocument: { uri: uriOf("open.ts") } });
    while (await isKnown(`${asked}.ts`)) asked++;
  });

  it("are the model's alone when the setting is off", async () => {
    writeFileSync(join(root, "physics.ts"), law.repeat(4));
    await start({ ...settings, workspace: false });
    assert.ok(!(await suggested("new.ts", "export const speedOfL")).startsWith("ightInVacuum"));
  });
});
