/** `blt generate`: continues a text. */
import { UserError } from "../errors";
import { type EndReason, type GeneratedByte, generate, generateBeam } from "../generation/generate";
import { checkSampling } from "../generation/sampling";
import { createUtf8Stream } from "../generation/utf8-stream";
import { encode } from "../ids";
import type { TextState } from "../model/text-state";
import { flagName, number, text, texts, type Values, wholeNumber } from "./arguments";
import type { Command } from "./command";
import { readText } from "./input";
import { adapterOptions, loadTextModel, modelOptions } from "./model";
import { chosenPatchingOf, patchingOptions } from "./patching";
import type { Terminal } from "./terminal";

const options = {
  promptFile: text("FILE", "continue this file instead of PROMPT"),
  maxBytes: wholeNumber("N", "longest continuation in bytes (default 256)", 1),
  temperature: number("T", "randomness; 0 takes the most probable byte each time (default 0)"),
  topK: wholeNumber("K", "draw from the K most probable bytes only", 1),
  topP: number("P", "draw from the most probable bytes that together have probability P"),
  minP: number("P", "draw from bytes at least P times as probable as the most probable one"),
  repetitionPenalty: number("R", "above 1 makes recent bytes less likely"),
  seed: wholeNumber("N", "same seed, same text (default 0)", 0),
  beam: wholeNumber("WIDTH", "beam search for the most probable text, instead of drawing", 1),
  stop: texts("TEXT", "end before this text, which may contain \\n, \\t, \\r, \\\\ and \\x0A; may be repeated"),
  ...patchingOptions,
  ...adapterOptions,
  ...modelOptions,
};

type GenerateValues = Values<typeof options>;

export const generateCommand: Command<typeof options> = {
  name: "generate",
  positionals: { usage: "PROMPT|-", least: 0, most: 1 },
  summary: "continue a text",
  details: [
    'Writes the continuation, without the prompt, as it is found; - reads the prompt from stdin, and the prompt "" begins a new text.',
    "JSON: text, bytes, end (eos, stop, length), and for each byte logProbs and entropies in nats; with --beam instead of these logProb of the whole.",
  ],
  options,
  async run({ values, positionals }, terminal) {
    checkSampling({ ...values, temperature: values.temperature ?? 0 });
    if (values.beam !== undefined) refuseWithBeam(values);
    const prompt = encode(await readPrompt(positionals[0], values.promptFile));
    const { model, patching } = await loadTextModel(values, terminal);
    const chosen = chosenPatchingOf(patching, values);
    const sequence = model.createText?.(chosen) ?? model.createSequence(chosen);
    if (values.beam === undefined) await writeSampled(sequence, prompt, values, terminal);
    else await writeBeam(sequence, prompt, values.beam, values, terminal);
    await model.release();
  },
};

async function readPrompt(prompt: string | undefined, file: string | undefined): Promise<Uint8Array> {
  if ((prompt === undefined) === (file === undefined)) {
    throw new UserError("Give either PROMPT (or - for stdin) or --prompt-file FILE.");
  }
  if (file === undefined && prompt !== "-") return Buffer.from(prompt!, "utf8");
  return readText(file ?? "-", 'the prompt "" begins a new text');
}

/** Beam search draws nothing, so whoever gives both has misunderstood one of them. */
function refuseWithBeam(values: GenerateValues): void {
  const drawing = ["temperature", "topK", "topP", "minP", "repetitionPenalty", "seed"] as const;
  const given = drawing.find((name) => values[name] !== undefined);
  if (given !== undefined) throw new UserError(`--beam draws no bytes; leave out ${flagName(given)} or --beam.`);
}

async function writeSampled(
  sequence: TextState,
  prompt: Uint16Array,
  values: GenerateValues,
  terminal: Terminal,
): Promise<void> {
  const { json, temperature = 0, topK, topP, minP, repetitionPenalty, seed } = values;
  const sampling = { temperature, topK, topP, minP, repetitionPenalty, seed };
  const bytes = generate(sequence, prompt, { ...sampling, ...stopOptions(values, terminal) });
  const utf8 = createUtf8Stream();
  const all: GeneratedByte[] = [];
  const start = performance.now();
  let step = await bytes.next();
  for (; !step.done; step = await bytes.next()) {
    all.push(step.value);
    const characters = utf8.push(Uint8Array.of(step.value.byte));
    if (!json && characters !== "") await terminal.write(characters);
  }
  terminal.signal.throwIfAborted();
  const seconds = (performance.now() - start) / 1000;
  if (json) {
    return terminal.writeJson({
      text: textOf(all.map(({ byte }) => byte)),
      bytes: all.map(({ byte }) => byte),
      end: step.value,
      logProbs: Float32Array.from(all, ({ logProb }) => logProb),
      entropies: Float32Array.from(all, ({ entropy }) => entropy),
    });
  }
  if (terminal.isInteractive) await terminal.write("\n");
  terminal.remark(`${all.length} bytes in ${seconds.toFixed(2)} s, prompt included; ${ends[step.value]}.`);
}

async function writeBeam(
  sequence: TextState,
  prompt: Uint16Array,
  width: number,
  values: GenerateValues,
  terminal: Terminal,
): Promise<void> {
  const { bytes, logProb, end } = await generateBeam(sequence, prompt, { width, ...stopOptions(values, terminal) });
  if (values.json) return terminal.writeJson({ text: textOf(bytes), bytes, end, logProb });
  await terminal.write(`${textOf(bytes)}${terminal.isInteractive ? "\n" : ""}`);
  terminal.remark(`${bytes.length} bytes, log-probability ${logProb.toFixed(3)} nats; ${ends[end]}.`);
}

const ends: Record<EndReason, string> = {
  eos: "the model ended the text",
  stop: "a stop text came",
  length: "--max-bytes is reached",
  time: "the time is over",
  aborted: "it was interrupted",
};

function stopOptions({ maxBytes = 256, stop = [] }: GenerateValues, { signal }: Terminal) {
  return { maxBytes, stop: stop.map((escaped) => Buffer.from(unescapeText(escaped), "latin1")), signal };
}

/** A text with its escapes read, one character (to 0xFF) a byte; any other backslash stands for itself. */
function unescapeText(escaped: string): string {
  const characters: Record<string, string> = { n: "\n", t: "\t", r: "\r", "\\": "\\" };
  const bytes = Buffer.from(escaped, "utf8").toString("latin1");
  return bytes.replace(/\\(?:x([0-9a-f]{2})|([ntr\\]))/gi, (whole, hex?: string, letter?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return characters[letter!] ?? whole;
  });
}

/** Complete characters only: one that is cut off at the end is left out. */
function textOf(bytes: ArrayLike<number>): string {
  return createUtf8Stream().push(Uint8Array.from(bytes));
}
