/** Joins fine-tuning and the adapters to the connection, and says which adapter the model uses. */
import { fork } from "node:child_process";
import { constants } from "node:os";
import { extname, join } from "node:path";
import type { Connection, InitializeParams } from "vscode-languageserver/node";
import { fileStatus } from "../model-runtime/checkpoint/file-access";
import type { Device } from "../model-runtime/device";
import { UserError } from "../model-runtime/errors";
import { openModel } from "../model-runtime/model/load-model";
import { fingerprint } from "../model-runtime/training/fingerprint";
import { adapterBase } from "../model-runtime/training/kit";
import { readReport, reportName } from "../model-runtime/training/report-file";
import { Adapters } from "./adapters";
import { type ChildLike, FineTuneJob } from "./finetune-job";
import { preview } from "./finetune-preview";
import {
  ADAPTER_ACTION_REQUEST,
  ADAPTERS_REQUEST,
  type AdapterAction,
  type AdapterInfo,
  CONTROL_REQUEST,
  type ControlParams,
  PREVIEW_REQUEST,
  type Preview,
  type PreviewParams,
  type Refused,
  RUN_NOTIFICATION,
  RUN_REQUEST,
  type RunState,
  SHARED_ID,
  START_REQUEST,
  type StartParams,
  type StorageOptions,
} from "./finetune-protocol";
import { withoutServerVariables } from "./process-environment";

export interface FineTuningOptions {
  connection: Connection;
  /** Resolves when the settings are known. */
  whenReady(): Promise<void>;
  /** Of the model in use; empty while none is known. */
  folder(): string;
  device(): { device: Device; threads: number | undefined };
  isOnBattery(): boolean;
  /** Another adapter is to be used. */
  onChange(): void;
}

/** A state is sent this often at most, ms. */
const SEND_MS = 300;

export class FineTuning {
  private adapters: Adapters | null = null;
  private job: FineTuneJob | null = null;
  private sharedFolder: string | null = null;
  private timer: NodeJS.Timeout | undefined;
  /** Whether the state has changed since it was sent. */
  private isStale = false;
  private hash: { folder: string; fingerprint: string } | null = null;
  /** Folder of the adapter that the settings name; null for none. */
  shared: string | null = null;

  constructor(private readonly options: FineTuningOptions) {
    const { connection } = options;
    const answer =
      <P, R>(work: (params: P) => R | Promise<R>) =>
      // The library's types know no answers that are unions.
      // biome-ignore lint/suspicious/noExplicitAny: see above.
      async (params: P): Promise<any> => {
        try {
          await options.whenReady();
          return await work(params);
        } catch (error) {
          if (error instanceof UserError) return { problem: error.message };
          throw error;
        }
      };
    connection.onRequest(
      PREVIEW_REQUEST,
      answer((params: PreviewParams) => this.preview(params)),
    );
    connection.onRequest(
      START_REQUEST,
      answer((params: StartParams) => orRefused(this.ready().job.start(params, this.base()))),
    );
    connection.onRequest(
      CONTROL_REQUEST,
      answer((params: ControlParams) => orRefused(this.ready().job.control(params, () => this.base()))),
    );
    connection.onRequest(
      RUN_REQUEST,
      answer(() => this.job?.state ?? { kind: "none" }),
    );
    connection.onRequest(
      ADAPTERS_REQUEST,
      answer(() => this.list()),
    );
    connection.onRequest(
      ADAPTER_ACTION_REQUEST,
      answer((params: AdapterAction) => this.act(params)),
    );
  }

  /** Begins when the client is initialized. */
  start({ initializationOptions }: InitializeParams): void {
    const { storageFolder, sharedFolder } = (initializationOptions ?? {}) as StorageOptions;
    if (typeof storageFolder !== "string") return;
    this.sharedFolder = typeof sharedFolder === "string" ? sharedFolder : null;
    const { connection, isOnBattery } = this.options;
    const adapters = new Adapters(storageFolder);
    this.adapters = adapters;
    const left = adapters.adopt();
    if (left !== null) void adapters.choose(left).then(() => this.options.onChange());
    this.job = new FineTuneJob({
      fork: forkProcess,
      adapters,
      isOnBattery,
      onState: (state) => this.send(state),
      onAdapter: (id) => void adapters.choose(id).then(() => this.options.onChange()),
      log: (line) => connection.console.error(line),
    });
  }

  /** Folder of the adapter to be used with the model; null for none. */
  get adapter(): string | null {
    const choice = this.adapters?.choice;
    if (choice === null) return null;
    if (choice === undefined || choice === SHARED_ID) return this.shared;
    return this.adapters!.folderOf(choice);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.job?.dispose();
  }

  private async preview(params: PreviewParams): Promise<Preview> {
    const { adapters } = this.ready();
    const last = adapters.ids
      .map((id) => adapters.folderOf(id))
      .find((folder) => fileStatus(join(folder, reportName)) !== null);
    return preview(params, this.options.folder(), last === undefined ? null : readReport(last).bytesPerSecond);
  }

  private list(): AdapterInfo[] {
    return this.ready().adapters.list(this.adapter, this.shared, (card) =>
      card === null || card.base === this.fingerprint()
        ? null
        : "It was learned on another model than the one in use, and works with that one only.",
    );
  }

  private async act(action: AdapterAction): Promise<AdapterInfo[]> {
    const { adapters } = this.ready();
    switch (action.action) {
      case "use":
        await adapters.choose(action.id);
        break;
      case "delete":
        adapters.delete(action.id);
        break;
      case "export":
        adapters.export(action.id, action.folder);
        break;
      case "import":
        await adapters.choose(adapters.import(action.folder, adapterBase(openModel(this.options.folder()))));
        break;
    }
    this.options.onChange();
    return this.list();
  }

  private ready(): { adapters: Adapters; job: FineTuneJob } {
    const { adapters, job } = this;
    if (adapters === null || job === null)
      throw new UserError(
        "Open a folder first: what is learned belongs to one, and is kept in the editor's storage for it.",
      );
    if (this.options.folder() === "")
      throw new UserError("No model is in use that could learn; switch suggestions on, or choose a model.");
    return { adapters, job };
  }

  private base() {
    const { folder, device } = this.options;
    const lockFolder = this.sharedFolder === null ? null : join(this.sharedFolder, "fine-tuning-lock");
    // Not the lowest: beside a build that takes all cores nothing would be learned.
    return { model: folder(), ...device(), lockFolder, priority: constants.priority.PRIORITY_BELOW_NORMAL };
  }

  /** Of the model in use, worked out once a folder. */
  private fingerprint(): string {
    const folder = this.options.folder();
    if (this.hash?.folder !== folder) this.hash = { folder, fingerprint: fingerprint(openModel(folder)) };
    return this.hash.fingerprint;
  }

  /** Sends the state now or, when one of a run was sent just now, a moment later. */
  private send(state: RunState): void {
    this.isStale = state.kind === "running" && this.timer !== undefined;
    if (this.isStale) return;
    clearTimeout(this.timer);
    void this.options.connection.sendNotification(RUN_NOTIFICATION, state);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (this.isStale) this.send(this.job!.state);
    }, SEND_MS);
    this.timer.unref();
  }
}

function orRefused(problem: string | null): Refused | null {
  return problem === null ? null : { problem };
}

function forkProcess(): ChildLike {
  const child = fork(join(__dirname, `finetune-process${extname(__filename)}`), [], {
    env: withoutServerVariables(process.env),
    // What it prints must not get between the messages of the server; errors are for the log.
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  return child as unknown as ChildLike;
}
