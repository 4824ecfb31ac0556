/** A scripted editor: starts the server over stdio and speaks LSP to it. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import {
  CancellationToken,
  createProtocolConnection,
  type InlineCompletionItem,
  type InlineCompletionParams,
  InlineCompletionTriggerKind,
  type ProtocolConnection,
  StreamMessageReader,
  StreamMessageWriter,
  type TextDocumentContentChangeEvent,
} from "vscode-languageserver/node";
import { STATUS_NOTIFICATION, type Status } from "../../server/protocol";

const root = join(__dirname, "../..");

/** Bundles the server as `npm run build` does, into a folder of its own; returns that folder. */
export async function buildServer(): Promise<string> {
  // Inside the repository, where the bundle finds onnxruntime.
  mkdirSync(join(root, ".cache"), { recursive: true });
  const outdir = mkdtempSync(join(root, ".cache/server-"));
  await build({
    entryPoints: Object.fromEntries(
      ["main", "model-worker", "finetune-process"].map((name) => [
        name === "main" ? "server" : name,
        join(root, `server/${name}.ts`),
      ]),
    ),
    outdir,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    mainFields: ["module", "main"],
    external: ["onnxruntime-node"],
    logLevel: "warning",
  });
  return outdir;
}

export interface ClientOptions {
  /** Answer to `workspace/configuration`, an error if it is one; the client does not support it when undefined. */
  configuration?: unknown;
  initializationOptions?: unknown;
  capabilities?: Record<string, unknown>;
  /** File of the server. */
  program: string;
  workspaceFolder?: string;
  /** The server's environment; this process's when undefined. */
  environment?: NodeJS.ProcessEnv;
}

export class LspClient {
  readonly process: ChildProcessWithoutNullStreams;
  readonly connection: ProtocolConnection;
  readonly statuses: Status[] = [];
  /** Everything the server wrote to stderr. */
  errors = "";
  configuration: unknown;
  private readonly versions = new Map<string, number>();
  private readonly listeners = new Set<() => void>();

  constructor(private readonly options: ClientOptions) {
    this.process = spawn(process.execPath, [options.program, "--stdio"], { cwd: root, env: options.environment });
    this.process.stderr.on("data", (data) => {
      this.errors += data;
    });
    this.connection = createProtocolConnection(
      new StreamMessageReader(this.process.stdout),
      new StreamMessageWriter(this.process.stdin),
    );
    this.configuration = options.configuration;
    this.connection.onNotification(STATUS_NOTIFICATION, (status: Status) => {
      this.statuses.push(status);
      for (const listener of this.listeners) listener();
    });
    this.connection.onRequest("workspace/configuration", () => {
      if (this.configuration instanceof Error) throw this.configuration;
      return [this.configuration];
    });
    this.connection.onRequest("client/registerCapability", () => null);
    this.connection.onRequest("window/workDoneProgress/create", () => null);
    this.connection.listen();
  }

  async initialize(): Promise<unknown> {
    const { configuration, initializationOptions, capabilities, workspaceFolder } = this.options;
    const result = await this.connection.sendRequest("initialize", {
      processId: process.pid,
      rootUri: null,
      workspaceFolders: workspaceFolder === undefined ? null : [{ uri: workspaceFolder, name: "workspace" }],
      capabilities: { workspace: { configuration: configuration !== undefined }, ...capabilities },
      initializationOptions,
    });
    await this.connection.sendNotification("initialized", {});
    return result;
  }

  /** The first status, past or to come, that is as wanted. */
  async status(isWanted: (status: Status) => boolean): Promise<Status> {
    for (;;) {
      const found = this.statuses.find(isWanted);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        const listener = () => {
          this.listeners.delete(listener);
          resolve();
        };
        this.listeners.add(listener);
      });
    }
  }

  open(uri: string, text: string, languageId = "typescript"): Promise<void> {
    this.versions.set(uri, 1);
    return this.connection.sendNotification("textDocument/didOpen", {
      textDocument: { uri, languageId, version: 1, text },
    });
  }

  change(uri: string, contentChanges: TextDocumentContentChangeEvent[]): Promise<void> {
    const version = (this.versions.get(uri) ?? 0) + 1;
    this.versions.set(uri, version);
    return this.connection.sendNotification("textDocument/didChange", {
      textDocument: { uri, version },
      contentChanges,
    });
  }

  insert(uri: string, line: number, character: number, text: string): Promise<void> {
    const at = { line, character };
    return this.change(uri, [{ range: { start: at, end: at }, text }]);
  }

  complete(
    uri: string,
    line: number,
    character: number,
    { invoked = false, token = CancellationToken.None }: { invoked?: boolean; token?: CancellationToken } = {},
  ): Promise<InlineCompletionItem[]> {
    const params: InlineCompletionParams = {
      textDocument: { uri },
      position: { line, character },
      context: {
        triggerKind: invoked ? InlineCompletionTriggerKind.Invoked : InlineCompletionTriggerKind.Automatic,
      },
    };
    return this.connection.sendRequest("textDocument/inlineCompletion", params, token);
  }

  /** Ends the server as the protocol says; its exit code. */
  async stop(): Promise<number | null> {
    const exited = once(this.process, "exit");
    await this.connection.sendRequest("shutdown");
    await this.connection.sendNotification("exit");
    const [code] = await exited;
    this.connection.dispose();
    return code;
  }
}
