/** The tokenizers as the LSP thread sees them: a thread that is started by the first text. */
import type { Worker } from "node:worker_threads";
import type { Tokenized, TokenizeParams } from "./overlay-protocol";

export interface TokenizeJob extends TokenizeParams {
  id: number;
}

export interface TokenizeResult {
  id: number;
  results: Tokenized[];
}

export class TokenizerHost {
  private worker: Worker | null = null;
  private readonly waiting = new Map<number, (results: Tokenized[]) => void>();
  private nextId = 1;

  constructor(
    private readonly startWorker: () => Worker,
    private readonly log: (line: string) => void,
  ) {}

  /** Each tokenizer's cut of a text; where one fails, the sentence that says why. */
  tokenize(params: TokenizeParams): Promise<Tokenized[]> {
    const id = this.nextId++;
    const results = new Promise<Tokenized[]>((resolve) => this.waiting.set(id, resolve));
    this.running().postMessage({ id, ...params } satisfies TokenizeJob);
    return results;
  }

  private running(): Worker {
    if (this.worker !== null) return this.worker;
    const worker = this.startWorker();
    worker.unref();
    worker.on("message", ({ id, results }: TokenizeResult) => this.answer(id, results));
    worker.on("error", (error) => this.log(`The tokenizers' thread ended: ${error.stack}`));
    worker.on("exit", () => {
      this.worker = null;
      const problem = "The tokenizers stopped; the log says why.";
      const failed = (["cl100k", "o200k"] as const).map((id) => ({ id, starts: null, problem }));
      for (const id of [...this.waiting.keys()]) this.answer(id, failed);
    });
    return (this.worker = worker);
  }

  private answer(id: number, results: Tokenized[]): void {
    this.waiting.get(id)?.(results);
    this.waiting.delete(id);
  }
}
