/** What the status bar item says, from what the server says. */
import type { Status } from "../server/protocol";
import { adapterName } from "./finetune-text";

/** The server as the client sees it. */
export type ServerState =
  | { kind: "starting" }
  /** It ended by itself and is started again. */
  | { kind: "restarting" }
  | { kind: "running"; status: Status }
  /** It is not started again unless the user does; the sentence says why. */
  | { kind: "stopped"; sentence: string };

export interface StatusView {
  text: string;
  /** Lines of the tooltip, most important first. */
  lines: string[];
  severity: "normal" | "warning" | "error";
}

/**
 * `language`: language id of the active editor where suggestions are switched off, null elsewhere. `skipped`: the last
 * request that the client did not send, null for none.
 */
export function statusView(server: ServerState, language: string | null, skipped: Status["last"] = null): StatusView {
  switch (server.kind) {
    case "starting":
      return normal("$(loading~spin) BLT", "The completion server is starting.");
    case "restarting":
      return normal("$(loading~spin) BLT", "The completion server ended unexpectedly and is being started again.");
    case "stopped":
      return { text: "$(error) BLT", lines: [server.sentence], severity: "error" };
    case "running":
      return withNotices(modelView(server.status, language, skipped), server.status.notices);
  }
}

/** The state as a line of the log; null for what changes with each key. */
export function logLine(server: ServerState): string | null {
  if (server.kind !== "running") return statusView(server, null).lines[0];
  const { state, notices } = server.status;
  if (state.kind === "working" || state.kind === "unloaded") return null;
  const lasting = state.kind === "ready" ? { ...state, lastMs: null } : state;
  const { lines } = modelView({ state: lasting, notices, last: null }, null, null);
  return [...lines, ...notices].join(" ");
}

/** Whether there are no suggestions until something is done. */
export function isProblem(server: ServerState): boolean {
  return server.kind === "stopped" || (server.kind === "running" && server.status.state.kind === "problem");
}

function modelView({ state, last }: Status, language: string | null, skipped: Status["last"]): StatusView {
  if (state.kind === "problem") return { text: "$(warning) BLT", lines: [state.sentence], severity: "warning" };
  if (state.kind === "paused") return normal("$(circle-slash) BLT", "Suggestions are off.");
  if (language !== null) return normal("$(circle-slash) BLT", `Suggestions are off for ${language}.`);
  switch (state.kind) {
    case "unloaded":
      return normal("$(sparkle) BLT", "The model loads when you type.");
    case "loading":
      return normal(`$(loading~spin) BLT ${Math.round(state.fraction * 100)}%`, "The model is loading.");
    case "working":
    case "ready": {
      const { model, adapter, device, kernel, lastMs } = state;
      const icon = state.kind === "working" ? "$(loading~spin)" : "$(sparkle)";
      const time = lastMs === null ? "" : ` ${Math.round(lastMs)} ms`;
      const newest = last === null || (skipped !== null && skipped.time > last.time) ? skipped : last;
      return normal(
        `${icon} BLT${time}`,
        state.kind === "working" ? "A suggestion is being computed." : "Ready.",
        ...(lastMs === null ? [] : [`The last suggestion took ${Math.round(lastMs)} ms.`]),
        ...(newest === null ? [] : [`The last request: ${newest.sentence}`]),
        `Model: ${model}, on ${device}${kernel === null ? "" : ` (kernels: ${kernel})`}.`,
        ...(adapter === null ? [] : [`Adapter: ${adapterName(adapter)}.`]),
      );
    }
  }
}

function normal(text: string, ...lines: string[]): StatusView {
  return { text, lines, severity: "normal" };
}

function withNotices(view: StatusView, notices: readonly string[]): StatusView {
  if (notices.length === 0) return view;
  return {
    ...view,
    lines: [...view.lines, ...notices],
    severity: view.severity === "normal" ? "warning" : view.severity,
  };
}
