/** The language server's life: started, started again when it ends by itself, given up when that does not help. */
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  type LanguageClientOptions,
  type Middleware,
  RevealOutputChannelOn,
  TransportKind,
} from "vscode-languageclient/node";
import type { StorageOptions } from "../server/finetune-protocol";
import { processEnvironment } from "../server/process-environment";
import {
  CURSOR_NOTIFICATION,
  type Decision,
  STATUS_NOTIFICATION,
  STATUS_REQUEST,
  type Status,
  WHY_REQUEST,
  type WhyParams,
} from "../server/protocol";
import { createRestartPolicy } from "./restart-policy";
import type { Skips } from "./skips";
import type { ServerState } from "./status-view";

/** Documents that are completed; VS Code's own output, comparisons and input boxes are none. */
const documentSelector = ["file", "untitled", "vscode-notebook-cell", "vscode-vfs"].map((scheme) => ({ scheme }));

const givenUp =
  "The completion server ended three times within three minutes and is not started again. " +
  'The log says why; "BLT: Restart server" starts it.';

export class LanguageServer {
  private readonly policy = createRestartPolicy();
  /** Of the process that runs or is starting: one client a process, because one that failed to start cannot be reused. */
  private client: QuietClient | null = null;
  /** Resolves when the process at hand has started, or could not. */
  private launching: Promise<void> = Promise.resolve();
  private readonly listeners = new Map<string, (params: never) => void>();
  private readonly started = new vscode.EventEmitter<void>();
  /** A server has begun to run, the first one or another: it knows nothing of what was told to those before. */
  readonly onStarted = this.started.event;

  /** `module`: path of the server's bundle. `storage`: where it may write. `onState` is told each change. */
  constructor(
    private readonly module: string,
    private readonly storage: StorageOptions,
    private readonly log: vscode.LogOutputChannel,
    private readonly skips: Skips,
    private readonly onState: (state: ServerState) => void,
  ) {}

  async start(): Promise<void> {
    this.onState({ kind: "starting" });
    await this.launch();
  }

  async stop(): Promise<void> {
    const client = this.client;
    this.client = null;
    try {
      if (client?.needsStop()) await client.stop();
    } catch (error) {
      // One that is still starting cannot be stopped in good order; its process is ended all the same.
      this.log.warn(String(error));
    }
  }

  /** A new process, whatever the old one did. */
  async restart(): Promise<void> {
    this.policy.reset();
    await this.stop();
    await this.start();
  }

  /** What came of the last requests, newest first; empty when the server does not run. */
  async decisions(params: WhyParams): Promise<Decision[]> {
    return this.client?.isRunning() ? this.client.sendRequest<Decision[]>(WHY_REQUEST, params) : [];
  }

  /** Asks the server, once it has started; null when it does not run, or ends meanwhile. */
  async request<R>(method: string, params: object, token?: vscode.CancellationToken): Promise<R | null> {
    await this.launching;
    const { client } = this;
    if (!client?.isRunning()) return null;
    try {
      // An undefined token would be sent as a second parameter.
      return await (token === undefined
        ? client.sendRequest<R>(method, params)
        : client.sendRequest<R>(method, params, token));
    } catch (error) {
      // The log has what is a defect; a request that was taken back or cut off is none.
      if (client === this.client && !(error instanceof vscode.CancellationError)) this.log.warn(String(error));
      return null;
    }
  }

  /** Tells the server something, if it runs. */
  async notify(method: string, params: object): Promise<void> {
    if (this.client?.isRunning()) await this.client.sendNotification(method, params);
  }

  /** Calls `listener` with each notification of this name, of whatever server runs. */
  onNotification<P>(method: string, listener: (params: P) => void): void {
    this.listeners.set(method, listener);
  }

  /** Tells the server where the cursor stands, so that it reads ahead there. */
  async tellCursor(): Promise<void> {
    const { client } = this;
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined || !client?.isRunning()) return;
    const { document, selection } = editor;
    const place = client.code2ProtocolConverter.asTextDocumentPositionParams(document, selection.active);
    await client.sendNotification(CURSOR_NOTIFICATION, place);
  }

  private launch(): Promise<void> {
    this.launching = this.begin();
    return this.launching;
  }

  private async begin(): Promise<void> {
    const client: QuietClient = this.createClient(() => this.ended(client));
    this.client = client;
    client.onNotification(STATUS_NOTIFICATION, (status: Status) => {
      if (client === this.client) this.onState({ kind: "running", status });
    });
    for (const [method, listener] of this.listeners)
      client.onNotification(method, (params) => {
        if (client === this.client) listener(params as never);
      });
    try {
      await client.start();
      this.started.fire();
      const status = await client.sendRequest<Status>(STATUS_REQUEST);
      if (client === this.client) this.onState({ kind: "running", status });
      await this.tellCursor();
    } catch (error) {
      this.log.error(String(error));
      this.ended(client);
    }
  }

  private createClient(onEnd: () => void): QuietClient {
    const options: LanguageClientOptions = {
      documentSelector,
      initializationOptions: this.storage,
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      middleware: createMiddleware(this.skips),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: (_error, _message, count) => ({
          action: (count ?? 0) <= 3 ? ErrorAction.Continue : ErrorAction.Shutdown,
          handled: true,
        }),
        closed: () => {
          onEnd();
          return { action: CloseAction.DoNotRestart, message: "The server has ended.", handled: true };
        },
      },
    };
    // Variables that the user has set win.
    const env = { ...processEnvironment, ...process.env };
    const server = { module: this.module, transport: TransportKind.ipc, options: { env } };
    return new QuietClient("blt", "BLT Code", server, options);
  }

  /** The client's process ended by itself, or could not be started; told once or twice. */
  private ended(client: QuietClient): void {
    if (client !== this.client) return;
    this.client = null;
    if (this.policy.ended(Date.now())) {
      this.onState({ kind: "restarting" });
      void this.launch();
    } else {
      this.onState({ kind: "stopped", sentence: givenUp });
      void offerRestart();
    }
  }
}

/** Leaves it to `LanguageServer` to tell the user; the log has everything. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

function createMiddleware(skips: Skips): Middleware {
  return {
    provideInlineCompletionItems: (document, position, context, token, next) => {
      const automatic = context.triggerKind === vscode.InlineCompletionTriggerKind.Automatic;
      return automatic && skips.skip(document, position) ? undefined : next(document, position, context, token);
    },
    // The status bar item says how far the model is loaded; VS Code need not say it a second time.
    handleWorkDoneProgress: () => {},
  };
}

async function offerRestart(): Promise<void> {
  const choice = await vscode.window.showErrorMessage(`BLT: ${givenUp}`, "Restart server", "Show log");
  if (choice === "Restart server") await vscode.commands.executeCommand("blt.restartServer");
  if (choice === "Show log") await vscode.commands.executeCommand("blt.showLog");
}
