/**
 * The measurement itself: in each round every subject does the same tasks, one subject at a time, in an order that turns
 * with the rounds. All processes are alive meanwhile, but only the one that is asked works.
 */
import type { Prepared } from "./prepare";
import type { ProcessMemory } from "./processes";
import type { Task, TaskRuns } from "./protocol";
import { type Measured, type Start, Subject, type SubjectCommand } from "./subject";
import { sampleText } from "./text";

/** Bytes of the prompts. */
export const CONTEXTS = [512, 2048, 4096];
/** Bytes of the untimed task before each timed one: a subject has been idle, and its weights have left the caches. */
const WARM_CONTEXT = 128;
/** Bytes of context whose memory is measured. */
export const MEMORY_CONTEXT = 1024;

export interface Round {
  /** By subject, then by bytes of context. */
  tasks: Record<string, Record<number, Measured>>;
  /** Fresh processes, by subject. */
  starts: Record<string, Start & { memory: ProcessMemory | null }>;
}

export interface Measurements {
  /** Settings by subject. */
  settings: Record<string, string>;
  rounds: Round[];
}

export async function measure(root: string, prepared: Prepared, rounds: number): Promise<Measurements> {
  const llama = await fastestVariant(prepared.llama, { ...sampleText(root, 0, 2048), continuation: "", runs: null });
  const { engineInt8, engineInt4, engineWasm, engineFp32, transformers, productsInt8, productsFp32 } = prepared;
  const engines = [engineInt8, engineInt4, engineWasm];
  const commands = [...engines, engineFp32, llama, productsInt8, productsFp32, transformers];
  const settings: Record<string, string> = {};
  const subjects = new Map<SubjectCommand, Subject>();
  try {
    for (const command of commands) {
      progress(`starting ${command.name}`);
      const { subject, start } = await Subject.start(command);
      subjects.set(command, subject);
      settings[command.name] = start.ready.settings;
    }
    const runs = await warmUp(root, subjects, engineInt8);
    const done: Round[] = [];
    for (let round = 0; round < rounds; round++) {
      progress(`round ${round + 1} of ${rounds}`);
      const order = [...commands.slice(round % commands.length), ...commands.slice(0, round % commands.length)];
      const tasks = await measureTasks(root, round, order, subjects, runs);
      const starts: Round["starts"] = {};
      for (const command of [...engines, llama]) starts[command.name] = await measureStart(root, round, command);
      done.push({ tasks, starts });
    }
    return { settings, rounds: done };
  } finally {
    for (const subject of subjects.values()) await subject.stop();
  }
}

/** What the engine runs for each context, the same for any text, and for the task that warms the processor's caches. */
interface Runs {
  contexts: Map<number, TaskRuns>;
  warm: Task;
}

/** Every subject does short tasks, untimed; the engine all contexts. */
async function warmUp(root: string, subjects: Map<SubjectCommand, Subject>, engine: SubjectCommand): Promise<Runs> {
  progress("warming up");
  const subject = subjects.get(engine)!;
  const contexts = new Map<number, TaskRuns>();
  for (const bytes of CONTEXTS)
    contexts.set(bytes, (await subject.complete({ ...sampleText(root, 0, bytes), runs: null })).runs!);
  const { prompt } = sampleText(root, 0, WARM_CONTEXT);
  const warm = {
    prompt,
    continuation: "",
    runs: (await subject.complete({ prompt, continuation: "", runs: null })).runs!,
  };
  const first = { ...sampleText(root, 0, CONTEXTS[0]), runs: contexts.get(CONTEXTS[0])! };
  for (const [command, subject] of subjects) if (command !== engine) await subject.complete(first);
  return { contexts, warm };
}

async function measureTasks(
  root: string,
  round: number,
  order: SubjectCommand[],
  subjects: Map<SubjectCommand, Subject>,
  { contexts, warm }: Runs,
): Promise<Round["tasks"]> {
  const tasks: Round["tasks"] = Object.fromEntries(order.map(({ name }) => [name, {}]));
  for (const bytes of CONTEXTS) {
    const task: Task = { ...sampleText(root, round, bytes), runs: contexts.get(bytes)! };
    for (const command of order) {
      if (bytes > command.longestPrompt) continue;
      const subject = subjects.get(command)!;
      await subject.complete(warm);
      tasks[command.name][bytes] = await subject.complete(task);
    }
  }
  return tasks;
}

/** A process of its own: load, first byte, memory with a kilobyte of context. */
async function measureStart(root: string, round: number, command: SubjectCommand): Promise<Round["starts"][string]> {
  const { subject, start } = await Subject.start(command);
  await subject.complete({ prompt: sampleText(root, round, MEMORY_CONTEXT).prompt, continuation: "", runs: null });
  const memory = subject.memory();
  await subject.stop();
  return { ...start, memory };
}

/** The variant with the shortest prefill of two. */
async function fastestVariant(variants: SubjectCommand[], task: Task): Promise<SubjectCommand> {
  const times: number[] = [];
  for (const variant of variants) {
    progress(`trying ${variant.name} ${variant.arguments.slice(-2).join(" ")}`);
    const { subject } = await Subject.start(variant);
    const [first, second] = [await subject.complete(task), await subject.complete(task)];
    times.push(Math.min(first.prefillMs, second.prefillMs));
    await subject.stop();
  }
  return variants[times.indexOf(Math.min(...times))];
}

function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}
