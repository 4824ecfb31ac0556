/**
 * The language server: `node dist/server.js --stdio` (or `--node-ipc`). Inline completion (LSP 3.18) by a model that runs
 * in a worker thread; opens no socket by itself and writes no file.
 */
import { fileURLToPath } from "node:url";
import {
  createConnection,
  type InitializeParams,
  type InitializeResult,
  TextDocumentSyncKind,
} from "vscode-languageserver/node";
import { type CompletionMarks, readCompletionMarks } from "../model-runtime/checkpoint/completion-marks";
import { UserError } from "../model-runtime/errors";
import { version } from "../package.json";
import { Completer } from "./completer";
import { Configuration } from "./configuration";
import { Decisions } from "./decisions";
import { Documents } from "./documents";
import { FineTuning } from "./finetune-handlers";
import { ThreadMonitor } from "./measurements";
import { ModelHost } from "./model-host";
import { resolveModel } from "./model-path";
import { createOverlay } from "./overlay-handlers";
import { Power } from "./power";
import {
  CURSOR_NOTIFICATION,
  type CursorParams,
  MEASUREMENTS_REQUEST,
  type Measurements,
  type MeasurementsParams,
  RESTART_MODEL_REQUEST,
  STATUS_REQUEST,
  type Status,
  WHY_REQUEST,
  type WhyParams,
} from "./protocol";
import { ReadAhead } from "./read-ahead";
import { StatusReporter, statusOf } from "./status";
import { startThread } from "./threads";
import type { ModelChoice } from "./worker-protocol";
import { Workspace } from "./workspace";

const connection = createConnection();
const documents = new Documents();
const decisions = new Decisions();
const monitor = new ThreadMonitor();
let client: InitializeParams;
let folder = "";
/** How the model in that folder is told what follows the cursor. */
let marks: CompletionMarks | null = null;
let lastMs: number | null = null;
let last: Status["last"] = null;
/** Whether the loaded model knows of the workspace. */
let isTold = false;
/** About the workspace's files. */
let workspaceNotice: string | null = null;

const reporter = new StatusReporter(connection, () => client.capabilities.window?.workDoneProgress === true);
const host = new ModelHost({
  startWorker: () => startThread("model-worker"),
  onState(state) {
    report();
    overlay.modelChanged(state);
    if (state.kind === "ready" && !isTold) void workspace.tellAll();
    isTold = state.kind === "ready" || state.kind === "working";
  },
  onWorkspace: (message) => workspace.received(message),
  onReading: (message) => overlay.received(message),
  log: (line) => connection.console.error(line),
});
const power = new Power();
const completer = new Completer({
  documents,
  host,
  settings: () => configuration.settings,
  marks: () => marks,
  around: (document, cursor) => workspace.around(document, cursor),
  onDecision(decision, shownText) {
    decisions.add(decision);
    if (shownText !== null) workspace.ask(decision, shownText);
    if (decision.reason === "shown") lastMs = decision.ms;
    last = { time: decision.time, sentence: decision.sentence };
    report();
  },
  mayWorkAhead: () => !power.isOnBattery,
});

const workspace = new Workspace({
  connection,
  documents,
  host,
  isOn: () => configuration.settings.workspace,
  onNotice(notice) {
    workspaceNotice = notice;
    report();
  },
});

const readAhead = new ReadAhead({
  documents,
  host,
  settings: () => configuration.settings,
  marks: () => marks,
  isIdle: () => completer.isIdle,
  mayWorkAhead: () => !power.isOnBattery,
});

const overlay = createOverlay({
  connection,
  documents,
  host,
  isEnabled: () => configuration.settings.enable,
  folder: () => folder,
  startThread,
});

const fineTuning = new FineTuning({
  connection,
  whenReady: () => configuration.whenRead(),
  folder: () => folder,
  device: () => chosenDevice(),
  isOnBattery: () => power.isOnBattery,
  onChange() {
    completer.modelChanged();
    useModel();
  },
});

const configuration = new Configuration(connection, () => {
  completer.modelChanged();
  useModel();
  if (isTold) void workspace.tellAll();
  host.unloadAfter(configuration.settings.unloadAfterMinutes * 60_000);
  report();
});

connection.onInitialize((params): InitializeResult => {
  client = params;
  return {
    capabilities: {
      positionEncoding: "utf-16",
      textDocumentSync: { openClose: true, change: TextDocumentSyncKind.Incremental },
      inlineCompletionProvider: true,
      workspace: { workspaceFolders: { supported: true, changeNotifications: true } },
    },
    serverInfo: { name: "blt", version },
  };
});

connection.onInitialized(() => {
  workspace.start(client);
  fineTuning.start(client);
  configuration.start(client);
});

connection.onDidOpenTextDocument((params) => {
  documents.didOpen(params);
  workspace.documentOpened(params.textDocument.uri);
});
connection.onDidChangeTextDocument((params) => {
  readAhead.interrupt();
  completer.documentChanged(documents.didChange(params));
  overlay.documentChanged(params);
});
connection.onDidCloseTextDocument(({ textDocument }) => {
  documents.didClose(textDocument.uri);
  overlay.documentClosed(textDocument.uri);
  workspace.documentClosed(textDocument.uri);
});

connection.onNotification(CURSOR_NOTIFICATION, ({ textDocument, position }: CursorParams) =>
  readAhead.cursorAt(textDocument.uri, position),
);
connection.languages.inlineCompletion.on(async (params, token) => {
  readAhead.interrupt();
  await configuration.whenRead();
  const item = await completer.complete(params, token);
  const others = item === null ? [] : await completer.alternatives(item, token);
  readAhead.cursorAt(params.textDocument.uri, params.position);
  return item === null ? [] : [item, ...others];
});

connection.onRequest(STATUS_REQUEST, status);
connection.onRequest(WHY_REQUEST, (params: WhyParams | null) => decisions.list(params?.uri));
connection.onRequest(RESTART_MODEL_REQUEST, () => {
  useModel((choice) => host.restart(choice));
  return null;
});
connection.onRequest(MEASUREMENTS_REQUEST, (params: MeasurementsParams | null): Measurements => {
  const reset = params?.reset === true;
  const reading = { ...monitor.read(reset), answers: { ...completer.answers }, ...host.counters };
  if (reset) {
    Object.assign(completer.answers, { fromModel: 0, fromRunning: 0, fromCache: 0 });
    Object.assign(host.counters, { processedBytes: 0, reusedBytes: 0, aheadBytes: 0 });
  }
  return reading;
});

connection.onShutdown(() => {
  fineTuning.dispose();
  return host.dispose();
});
connection.listen();

/** Hands the model that the settings name to the host. */
function useModel(hand = (choice: ModelChoice) => host.use(choice)): void {
  const { enable, modelPath } = configuration.settings;
  if (!enable) {
    host.unload();
    return;
  }
  try {
    const named = resolveModel(modelPath, { workspaceFolder: workspaceFolder(), programFolder: __dirname });
    if (named.folder !== folder) marks = readCompletionMarks(named.folder);
    folder = named.folder;
    fineTuning.shared = named.adapter;
    hand({ folder, ...chosenDevice(), adapter: fineTuning.adapter });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    host.refuse(error.message);
  }
}

function chosenDevice() {
  const { device, threads } = configuration.settings;
  return { device, threads: threads === 0 ? undefined : threads };
}

function workspaceFolder(): string | null {
  const uri = client.workspaceFolders?.[0]?.uri ?? client.rootUri;
  return uri?.startsWith("file:") ? fileURLToPath(uri) : null;
}

function status() {
  const { settings } = configuration;
  const notices = [...configuration.notices, ...(workspaceNotice === null ? [] : [workspaceNotice])];
  return statusOf({ host: host.state, folder, isPaused: !settings.enable, lastMs, notices, last });
}

function report(): void {
  reporter.report(status());
}
