/** llama.cpp through node-llama-cpp: `node llama.cjs LIBRARY MODEL.gguf THREADS FLASH_ATTENTION BATCH_SIZE`. */
import { pathToFileURL } from "node:url";
import type { Completion, Task } from "../lib/protocol";
import { Phases, serve } from "../lib/serve";

/** The part of node-llama-cpp that is used; the package is no dependency of ours. */
interface LlamaLibrary {
  getLlama(options: { gpu: false; build: "never"; maxThreads: number; logLevel: "error" }): Promise<{
    loadModel(options: { modelPath: string }): Promise<Model>;
  }>;
}

interface Model {
  tokenize(text: string): number[];
  createContext(options: {
    contextSize: number;
    batchSize: number;
    threads: number;
    flashAttention: boolean;
  }): Promise<{ getSequence(): Sequence }>;
}

interface Sequence {
  clearHistory(): Promise<void>;
  /** Yields the token chosen after the tokens given; goes on with the one handed to `next`. */
  evaluate(tokens: number[], options: { temperature: 0 }): AsyncGenerator<number, void, number | undefined>;
}

/** In tokens: the longest prompt has 4 kB at two bytes a token and more. */
const contextSize = 2304;

async function main([library, modelPath, threadCount, flash, batch]: string[]): Promise<void> {
  const phases = new Phases();
  const [threads, flashAttention, batchSize] = [Number(threadCount), flash === "true", Number(batch)];
  const { getLlama } = (await import(pathToFileURL(library).href)) as LlamaLibrary;
  phases.end("node and library");
  const llama = await getLlama({ gpu: false, build: "never", maxThreads: threads, logLevel: "error" });
  const model = await llama.loadModel({ modelPath });
  const context = await model.createContext({ contextSize, batchSize, threads, flashAttention });
  const sequence = context.getSequence();
  phases.end("load");
  await complete(model, sequence, { prompt: "//", continuation: "", runs: null });
  phases.end("first byte");

  const settings = `${threads} threads, node-llama-cpp, flash attention ${flashAttention ? "on" : "off"}, batch ${batchSize}`;
  await serve({ settings, phases: phases.ms }, (task) => complete(model, sequence, task));
}

/** Token by token, as generation does: the likeliest is looked for, the real one goes on. */
async function complete(model: Model, sequence: Sequence, { prompt, continuation }: Task): Promise<Completion> {
  await sequence.clearHistory();
  const start = performance.now();
  const tokens = model.tokenize(prompt);
  const generator = sequence.evaluate(tokens, { temperature: 0 });
  await generator.next();
  const prefilled = performance.now();
  const following = model.tokenize(continuation);
  for (const token of following) await generator.next(token);
  const decodeMs = performance.now() - prefilled;
  await generator.return();
  return {
    prefillMs: prefilled - start,
    decodeMs,
    decodedBytes: continuation.length,
    tokens: { prompt: tokens.length, decoded: following.length },
  };
}

main(process.argv.slice(2));
