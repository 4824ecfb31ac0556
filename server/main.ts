/**
 * The language server: `node dist/server.js --stdio` (or `--node-ipc`). Inline completion (LSP 3.18) by a model that runs
 * in a worker thread; opens no socket by itself and writes no file.
 */
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import {
  createConnection,
  DidChangeConfigurationNotification,
  type InitializeParams,
  type InitializeResult,
  TextDocumentSyncKind,
} from "vscode-languageserver/node";
import { UserError } from "../model-runtime/errors";
import { version } from "../package.json";
import { Completer } from "./completer";
import { Decisions } from "./decisions";
import { Documents } from "./documents";
import { ThreadMonitor } from "./measurements";
import { ModelHost } from "./model-host";
import { resolveModelPath } from "./model-path";
import {
  MEASUREMENTS_REQUEST,
  type Measurements,
  type MeasurementsParams,
  RESTART_MODEL_REQUEST,
  SETTINGS_SECTION,
  STATUS_REQUEST,
  WHY_REQUEST,
  type WhyParams,
} from "./protocol";
import { type CheckedSettings, checkSettings, sectionOf } from "./settings";
import { StatusReporter, statusOf } from "./status";

const connection = createConnection();
const documents = new Documents();
const decisions = new Decisions();
const monitor = new ThreadMonitor();
let client: InitializeParams;
/** Requests wait for settings that are on their way. */
let settingsRead: Promise<void> = Promise.resolve();
let checked: CheckedSettings = checkSettings(undefined);
let folder = "";
let lastMs: number | null = null;

const reporter = new StatusReporter(connection, () => client.capabilities.window?.workDoneProgress === true);
const host = new ModelHost({
  startWorker() {
    // Beside this file, whether it is the bundle or the source. What it prints must not get between the messages.
    const worker = new Worker(join(__dirname, `model-worker${extname(__filename)}`), { stdout: true });
    worker.stdout.pipe(process.stderr);
    return worker;
  },
  onState: report,
  log: (line) => connection.console.error(line),
});
const completer = new Completer({
  documents,
  host,
  settings: () => checked.settings,
  onDecision(decision) {
    decisions.add(decision);
    if (decision.reason === "shown") lastMs = decision.ms;
    report();
  },
});

connection.onInitialize((params): InitializeResult => {
  client = params;
  checked = checkSettings(sectionOf(params.initializationOptions));
  return {
    capabilities: {
      positionEncoding: "utf-16",
      textDocumentSync: { openClose: true, change: TextDocumentSyncKind.Incremental },
      inlineCompletionProvider: true,
    },
    serverInfo: { name: "blt", version },
  };
});

connection.onInitialized(async () => {
  settingsRead = readSettings(client.initializationOptions);
  const { workspace } = client.capabilities;
  if (workspace?.didChangeConfiguration?.dynamicRegistration) {
    await connection.client.register(DidChangeConfigurationNotification.type, { section: SETTINGS_SECTION });
  }
});

connection.onDidChangeConfiguration(({ settings }) => {
  settingsRead = readSettings(settings);
});

connection.onDidOpenTextDocument((params) => documents.didOpen(params));
connection.onDidChangeTextDocument((params) => completer.documentChanged(documents.didChange(params)));
connection.onDidCloseTextDocument(({ textDocument }) => documents.didClose(textDocument.uri));

connection.languages.inlineCompletion.on(async (params, token) => {
  await settingsRead;
  const item = await completer.complete(params, token);
  return item === null ? [] : [item];
});

connection.onRequest(STATUS_REQUEST, status);
connection.onRequest(WHY_REQUEST, (params: WhyParams | null) => decisions.list(params?.uri));
connection.onRequest(RESTART_MODEL_REQUEST, () => {
  useModel();
  host.restart();
  return null;
});
connection.onRequest(MEASUREMENTS_REQUEST, (params: MeasurementsParams | null): Measurements => {
  const reset = params?.reset === true;
  const reading = { ...monitor.read(reset), answers: { ...completer.answers }, ...host.counters };
  if (reset) {
    Object.assign(completer.answers, { fromModel: 0, fromRunning: 0, fromCache: 0 });
    Object.assign(host.counters, { processedBytes: 0, reusedBytes: 0 });
  }
  return reading;
});

connection.onShutdown(() => host.dispose());
connection.listen();

/** How long the client may take to answer a question, ms. */
const PATIENCE_MS = 2000;

/** Asks the client for the settings where it can be asked and answers; else takes what it sent. */
async function readSettings(sent: unknown): Promise<void> {
  const canAsk = client.capabilities.workspace?.configuration === true;
  const patience = new Promise<null>((resolve) => setTimeout(() => resolve(null), PATIENCE_MS).unref());
  const answer = canAsk ? connection.workspace.getConfiguration(SETTINGS_SECTION).catch(noAnswer) : null;
  const asked: unknown = await Promise.race([answer, patience]);
  checked = checkSettings(sectionOf(asked ?? sent));
  for (const notice of checked.notices) connection.console.warn(notice);
  completer.modelChanged();
  useModel();
  host.unloadAfter(checked.settings.unloadAfterMinutes * 60_000);
  report();
}

function noAnswer(error: Error): null {
  connection.console.warn(`The editor did not tell its settings: ${error.message}`);
  return null;
}

function useModel(): void {
  const { enable, modelPath, device, threads } = checked.settings;
  if (!enable) {
    host.unload();
    return;
  }
  try {
    folder = resolveModelPath(modelPath, { workspaceFolder: workspaceFolder(), programFolder: __dirname });
    host.use({ folder, device, threads: threads === 0 ? undefined : threads });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    host.refuse(error.message);
  }
}

function workspaceFolder(): string | null {
  const uri = client.workspaceFolders?.[0]?.uri ?? client.rootUri;
  return uri?.startsWith("file:") ? fileURLToPath(uri) : null;
}

function status() {
  return statusOf({ host: host.state, folder, isPaused: !checked.settings.enable, lastMs, notices: checked.notices });
}

function report(): void {
  reporter.report(status());
}
