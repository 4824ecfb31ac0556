/** One request after the other until it is answered: the only place that opens a connection. */
import { setTimeout as pause } from "node:timers/promises";
import { TransientError } from "./errors";

export interface Connection {
  /** Address of Hugging Face or of a mirror. */
  endpoint: string;
  /** The user's access token. */
  token?: string;
  signal?: AbortSignal;
  /** Without a byte for so long the connection counts as lost, ms. */
  stallMs?: number;
  /** Pauses before further tries, ms; as many tries in a row without a new byte as there are pauses. */
  backOffMs?: readonly number[];
  /** Told before a pause why there is one. */
  onPause?(reason: string): void;
}

const DEFAULT_STALL_MS = 30_000;
const DEFAULT_BACK_OFF_MS = [1000, 2000, 5000, 15_000, 30_000];

export interface Attempt {
  /** A byte has come: the connection has not stalled. */
  isAlive(): void;
  /** More is on the disk than ever: earlier failures count no more. */
  hasProgress(): void;
}

/**
 * Asks for `path` and gives the answer to `read`; asks again when the connection is lost, stalls, or the other side is
 * busy. `headers` is called for each try. The access token goes to the endpoint only, not to where it redirects.
 */
export async function request<T>(
  path: string,
  headers: Record<string, string> | (() => Promise<Record<string, string>>),
  connection: Connection,
  read: (response: Response, attempt: Attempt) => Promise<T>,
): Promise<T> {
  const { endpoint, token, signal, stallMs = DEFAULT_STALL_MS, backOffMs = DEFAULT_BACK_OFF_MS } = connection;
  const url = `${endpoint.replace(/\/$/, "")}/${path}`;
  const { host } = new URL(url);
  for (let failures = 0; ; ) {
    signal?.throwIfAborted();
    const stalled = new AbortController();
    let isAnswered = false;
    let timer = setTimeout(() => stalled.abort(), stallMs);
    const hasProgress = () => {
      failures = 0;
    };
    const isAlive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), stallMs);
    };
    try {
      const own = typeof headers === "function" ? await headers() : headers;
      const response = await fetch(url, {
        headers: token === undefined ? own : { ...own, authorization: `Bearer ${token}` },
        signal: signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]),
      });
      isAnswered = true;
      return await read(response, { isAlive, hasProgress });
    } catch (error) {
      signal?.throwIfAborted();
      const reason = stalled.signal.aborted ? `${host} stopped answering` : connectionProblem(error, host, isAnswered);
      if (reason === null) throw error;
      if (failures >= backOffMs.length) {
        const advice = isAnswered ? "check the connection" : "check the network and the setting http.proxy,";
        throw new Error(`${reason}; ${advice} and start the download again, it goes on where it ended.`);
      }
      connection.onPause?.(reason);
      const wanted = error instanceof TransientError ? error.retryAfterMs : 0;
      await pause(Math.max(backOffMs[failures++], wanted), undefined, { signal });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Why an error is one of the connection to `host`, which had answered or not; null when it is none. */
function connectionProblem(error: unknown, host: string, isAnswered: boolean): string | null {
  if (error instanceof TransientError) return error.message;
  // What fetch throws when there is no connection, or when it breaks.
  if (!(error instanceof TypeError)) return null;
  const cause = error.cause as Error | undefined;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? cause?.message ?? error.message;
  return isAnswered ? `the connection to ${host} was lost (${code})` : `${host} cannot be reached (${code})`;
}
