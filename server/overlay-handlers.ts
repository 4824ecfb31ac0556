/** Joins overlay, explorer and statistics to the connection. */
import { basename } from "node:path";
import type { Worker } from "node:worker_threads";
import type { CancellationToken, Connection } from "vscode-languageserver/node";
import type { Documents } from "./documents";
import type { ModelHost } from "./model-host";
import { Overlay } from "./overlay";
import {
  CONTINUE_REQUEST,
  EXPLAIN_REQUEST,
  EXPLORE_REQUEST,
  type ExploreParams,
  type PlaceParams,
  STATISTICS_PROGRESS,
  STATISTICS_REQUEST,
  type StatisticsParams,
  TOKENIZE_REQUEST,
  type TokenizeParams,
  WATCH_NOTIFICATION,
  type WatchParams,
} from "./overlay-protocol";
import { collectStatistics } from "./statistics";
import { TokenizerHost } from "./tokenizer-host";

export interface HandlersOptions {
  connection: Connection;
  documents: Documents;
  host: ModelHost;
  isEnabled(): boolean;
  /** Folder of the model in use. */
  folder(): string;
  /** Starts the bundle of this name in a thread. */
  startThread(name: string): Worker;
}

export function createOverlay({
  connection,
  documents,
  host,
  isEnabled,
  folder,
  startThread,
}: HandlersOptions): Overlay {
  const overlay = new Overlay({
    documents,
    host,
    isEnabled,
    notify: (method, params) => void connection.sendNotification(method, params),
  });
  const tokenizers = new TokenizerHost(
    () => startThread("tokenizer-worker"),
    (line) => connection.console.error(line),
  );
  const ask =
    (kind: "explain" | "continue" | "read") =>
    (params: PlaceParams | ExploreParams, token: CancellationToken): Promise<unknown> =>
      overlay.ask(params, kind, token);
  connection.onNotification(WATCH_NOTIFICATION, (params: WatchParams) => overlay.watch(params));
  connection.onRequest(EXPLAIN_REQUEST, ask("explain"));
  connection.onRequest(CONTINUE_REQUEST, ask("continue"));
  connection.onRequest(EXPLORE_REQUEST, ask("read"));
  connection.onRequest(TOKENIZE_REQUEST, (params: TokenizeParams) => tokenizers.tokenize(params));
  connection.onRequest(STATISTICS_REQUEST, (params: StatisticsParams, token: CancellationToken): Promise<unknown> => {
    const progress = (progress: object) => void connection.sendNotification(STATISTICS_PROGRESS, progress);
    return collectStatistics(params, { documents, overlay, model: () => basename(folder()), progress }, token);
  });
  return overlay;
}
