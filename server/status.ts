/** What the client is told about the model, sent when it changes; and the standard progress while the model loads. */
import { basename } from "node:path";
import type { Connection, WorkDoneProgressServerReporter } from "vscode-languageserver/node";
import type { HostState } from "./host-state";
import { type ModelState, STATUS_NOTIFICATION, type Status } from "./protocol";

export interface StatusInputs {
  host: HostState;
  /** Folder of the model in use. */
  folder: string;
  isPaused: boolean;
  lastMs: number | null;
  /** About settings. */
  notices: readonly string[];
  last: Status["last"];
}

export function statusOf({ host, folder, isPaused, lastMs, notices, last }: StatusInputs): Status {
  const modelNotices = "device" in host ? [host.notice, host.adapterNotice].filter((notice) => notice !== null) : [];
  return {
    state: isPaused ? { kind: "paused" } : modelState(host, folder, lastMs),
    notices: [...notices, ...modelNotices],
    last,
  };
}

function modelState(host: HostState, folder: string, lastMs: number | null): ModelState {
  if (!("device" in host)) return host;
  const { kind, device, kernel, adapter } = host;
  return { kind, model: basename(folder), adapter: adapter && basename(adapter), device, kernel, lastMs };
}

/** Sends a status that differs from the last one, and keeps the loading progress in step with it. */
export class StatusReporter {
  private sent = "";
  private progress: Promise<WorkDoneProgressServerReporter> | null = null;

  constructor(
    private readonly connection: Connection,
    /** Whether the client shows progress. */
    private readonly showsProgress: () => boolean,
  ) {}

  report(status: Status): void {
    const json = JSON.stringify(status);
    if (json === this.sent) return;
    this.sent = json;
    void this.connection.sendNotification(STATUS_NOTIFICATION, status);
    void this.reportProgress(status.state);
  }

  private async reportProgress(state: ModelState): Promise<void> {
    if (state.kind !== "loading") {
      const { progress } = this;
      this.progress = null;
      (await progress)?.done();
    } else if (this.progress !== null) {
      (await this.progress).report(Math.round(state.fraction * 100));
    } else if (this.showsProgress()) {
      this.progress = this.connection.window.createWorkDoneProgress();
      (await this.progress).begin("BLT", Math.round(state.fraction * 100), "loading the model", false);
    }
  }
}
