/** Where a command writes: results to stdout, everything else to stderr; and what ends it early. */
import { once } from "node:events";
import type { WriteStream } from "node:tty";
import type { ColourDepth } from "../display/terminal-colours";

/** The process as a command sees it. */
export interface Terminal {
  /** Aborted by Ctrl-C, or when nobody reads stdout any more. */
  readonly signal: AbortSignal;
  /** Whether stdout is a terminal. */
  readonly isInteractive: boolean;
  /** Which colours stdout shows. */
  readonly colours: ColourDepth;
  /** Writes results; resolves when there is room for more. */
  write(text: string): Promise<void>;
  /** Writes an object of plain values and lists as one line of JSON. */
  writeJson(value: Readonly<Record<string, unknown>>): Promise<void>;
  /** One sentence to the user, on stderr. */
  notice(sentence: string): void;
  /** Like `notice`, but only where a person is looking on. */
  remark(sentence: string): void;
  /** Shows how far `work` has come, where a person is looking on. */
  withProgress<T>(label: string, work: (update: ProgressUpdate) => Promise<T>): Promise<T>;
}

/** Reports how much is done, and of how much. */
export type ProgressUpdate = (done: number, total: number) => void;

export type Stream = Pick<WriteStream, "write" | "once" | "off"> & { isTTY?: boolean };

export function createTerminal(
  stdout: Stream,
  stderr: Stream,
  signal: AbortSignal,
  environment: NodeJS.ProcessEnv,
): Terminal {
  const isInteractive = stdout.isTTY === true;
  const write = async (text: string) => {
    signal.throwIfAborted();
    if (!stdout.write(text)) await once(stdout as WriteStream, "drain", { signal }).catch(throwReason);
  };
  const throwReason = (error: unknown) => {
    signal.throwIfAborted();
    throw error;
  };
  const notice = (sentence: string) => void stderr.write(`blt: ${sentence}\n`);
  return {
    signal,
    isInteractive,
    // https://no-color.org
    colours: !isInteractive || environment.NO_COLOR || environment.TERM === "dumb" ? "none" : depthOf(environment),
    write,
    async writeJson(value) {
      for (const piece of jsonPieces(value)) await write(piece);
      await write("\n");
    },
    notice,
    remark: (sentence) => (stderr.isTTY ? notice(sentence) : undefined),
    async withProgress(label, work) {
      if (!stderr.isTTY) return work(() => undefined);
      let next = performance.now() + 500;
      let shown = false;
      try {
        return await work((done, total) => {
          const now = performance.now();
          if (now < next) return;
          next = now + 100;
          shown = true;
          const percent = total > 0 ? Math.floor((100 * done) / total) : 0;
          stderr.write(`\r\x1b[K${label} ${percent} %`);
        });
      } finally {
        if (shown) stderr.write("\r\x1b[K");
      }
    },
  };
}

/** Terminals that show any colour say so. */
function depthOf({ COLORTERM }: NodeJS.ProcessEnv): ColourDepth {
  return COLORTERM === "truecolor" || COLORTERM === "24bit" ? "full" : "palette";
}

/** Items of a long list that become one piece of text. */
const blockLength = 2 ** 16;

/** JSON of a value in pieces, as a text of its long lists may be longer than a string can be; typed arrays are lists. */
export function* jsonPieces(value: unknown): Generator<string> {
  if (isList(value)) yield* listPieces(value);
  else if (typeof value === "object" && value !== null) {
    let separator = "{";
    for (const [key, field] of Object.entries(value)) {
      yield `${separator}${JSON.stringify(key)}:`;
      yield* jsonPieces(field);
      separator = ",";
    }
    yield separator === "{" ? "{}" : "}";
  } else yield JSON.stringify(value);
}

function* listPieces(list: ArrayLike<unknown>): Generator<string> {
  yield "[";
  if (list.length > 0 && typeof list[0] === "object") {
    for (let i = 0; i < list.length; i++) {
      if (i > 0) yield ",";
      yield* jsonPieces(list[i]);
    }
  } else {
    const floats = list instanceof Float32Array;
    for (let from = 0; from < list.length; from += blockLength) {
      const block: unknown[] = Array.prototype.slice.call(list, from, from + blockLength);
      const items = floats ? block.map((item) => float32Digits(item as number)) : block;
      yield `${from > 0 ? "," : ""}${JSON.stringify(items).slice(1, -1)}`;
    }
  }
  yield "]";
}

/** Nine digits are as many as a float32 number needs to be told from its neighbours. */
function float32Digits(value: number): number {
  return Number(value.toPrecision(9));
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || ArrayBuffer.isView(value);
}
