/**
 * Line remainders at random columns by the runtime: bytes as the default model reads them, beside the tokens of the base,
 * plain and healed (the last piece given back), and beside what the server shows the model: path and what follows too.
 * Greedy, 2,000 bytes of prefix; inside words and at boundaries apart. `--base` is a checkpoint of the base.
 *
 *     npx esbuild test/bench/line-remainders.ts --bundle --platform=node --external:onnxruntime-node --outfile=.cache/line-remainders.js
 *     node .cache/line-remainders.js --cases 4 FILE...
 *
 * `exact`: the whole rest of the line; `matched`: the share of it that the common beginning is.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { type CompletionMarks, readCompletionMarks } from "../../model-runtime/checkpoint/completion-marks";
import { createRandom, type Random } from "../../model-runtime/generation/random";
import type { PieceLatent } from "../../model-runtime/lexicon/latent";
import { EOS_SYMBOL } from "../../model-runtime/lexicon/open-word";
import type { Lexicon } from "../../model-runtime/lexicon/pieces";
import { LexiconModel } from "../../model-runtime/model/lexicon-model";
import { loadModel, openModel } from "../../model-runtime/model/load-model";
import { bytesOf } from "../../server/model-text";
import { contextOf } from "./lib/places";

const PREFIX_BYTES = 2000;
const SHORTEST_PREFIX = 200;
const LONGEST = 80;
const NEWLINE = 10;
const METHODS = ["base, tokens", "base, healed", "bytes", "bytes, as the server asks"] as const;

interface Case {
  at: number;
  isInside: boolean;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      cases: { type: "string", default: "4" },
      model: { type: "string", default: "models/default" },
      base: { type: "string" },
      threads: { type: "string", default: "2" },
    },
    allowPositionals: true,
  });
  const load = async (folder: string) => {
    const model = await loadModel(openModel(folder), { device: "cpu", threads: Number(values.threads) });
    if (!(model instanceof LexiconModel)) throw new Error(`${folder} has no lexicon`);
    return model;
  };
  const model = await load(values.model);
  const base = values.base === undefined ? null : await load(values.base);
  const marks = readCompletionMarks(values.model);
  const tally = new Map<string, { exact: number; matched: number; count: number }>();
  const cost = { ms: 0, bytes: 0 };
  for (const file of positionals) {
    const text = readFileSync(file);
    for (const { at, isInside } of casesIn(text, Number(values.cases), createRandom(text.length))) {
      const prefix = text.subarray(Math.max(0, at - PREFIX_BYTES), at);
      const wanted = lineOf(text.subarray(at));
      for (const method of METHODS) {
        const isByTokens = method.startsWith("base");
        if (isByTokens && base === null) continue;
        const found = isByTokens
          ? await byTokens(base!, prefix, method === "base, healed")
          : await byBytes(model, method === "bytes" ? prefix : asServerAsks(file, text, at, marks), cost);
        const same = commonLength(found, wanted);
        const key = `${method}, ${isInside}`;
        const sum = tally.get(key) ?? { exact: 0, matched: 0, count: 0 };
        sum.exact += same === wanted.length && found.length === wanted.length ? 1 : 0;
        sum.matched += same / wanted.length;
        sum.count++;
        tally.set(key, sum);
      }
    }
    console.log(`${basename(file)}\n${table(tally)}`);
    console.log(`bytes: ${(cost.ms / cost.bytes).toFixed(2)} ms a written byte`);
  }
  await model.release();
  await base?.release();
}

function asServerAsks(file: string, text: Buffer, at: number, marks: CompletionMarks | null): Uint8Array {
  const rest = text.subarray(at).toString();
  const suffix = rest.slice(rest.indexOf("\n") + 1);
  return bytesOf(
    contextOf({ name: basename(file), prefix: text.subarray(0, at).toString(), suffix }, PREFIX_BYTES),
    marks,
  );
}

/** Greedy bytes to the end of the line, or of what is missing. */
async function byBytes(
  model: LexiconModel,
  prefix: Uint8Array,
  cost: { ms: number; bytes: number },
): Promise<Uint8Array> {
  const { reader } = model.createReader();
  reader.append(prefix);
  await reader.distribution();
  const start = performance.now();
  const written: number[] = [];
  while (written.length < LONGEST) {
    const distribution = await reader.distribution();
    let best = 0;
    for (let symbol = 1; symbol <= EOS_SYMBOL; symbol++) if (distribution[symbol] > distribution[best]) best = symbol;
    if (best === NEWLINE || best === EOS_SYMBOL) break;
    written.push(best);
    reader.append([best]);
  }
  cost.ms += performance.now() - start;
  cost.bytes += written.length;
  return lineOf(Uint8Array.from(written));
}

/** Greedy pieces to the end of the line; healed: the last piece is given back, and what it spelt must be written first. */
async function byTokens(model: LexiconModel, prefix: Uint8Array, isHealed: boolean): Promise<Uint8Array> {
  const { lexicon, table, config } = model;
  const { path: latent } = model.createReader();
  const path = [config.bosPiece, ...lexicon.cut(prefix).pieces];
  let owed = isHealed ? Buffer.from(lexicon.pieces[path.pop()!]!) : Buffer.alloc(0);
  const givenBack = owed.length;
  let written = Buffer.alloc(0);
  while (written.length < LONGEST + givenBack && !written.subarray(givenBack).includes(NEWLINE)) {
    const piece = await likeliest(latent, lexicon, table.order, path, owed);
    if (piece === null) break;
    const spelt = lexicon.pieces[piece]!;
    written = Buffer.concat([written, spelt]);
    owed = owed.subarray(Math.min(owed.length, spelt.length));
    path.push(piece);
  }
  return lineOf(written.subarray(givenBack));
}

/** The likeliest piece after a path that agrees with the owed bytes; null for the end of the document. */
async function likeliest(
  latent: PieceLatent,
  lexicon: Lexicon,
  order: ArrayLike<number>,
  path: readonly number[],
  owed: Uint8Array,
): Promise<number | null> {
  const mass = await latent.ask(Int32Array.from(path));
  let best = -1;
  for (let place = 0; place < order.length; place++) {
    if (best >= 0 && mass[place] <= mass[best]) continue;
    const spelt = lexicon.pieces[order[place]]!;
    if (commonLength(spelt, owed) === Math.min(spelt.length, owed.length)) best = place;
  }
  return owed.length === 0 && mass[order.length] > mass[best] ? null : order[best];
}

/** Columns with something left to write, half of them inside words, as many as there are. */
function casesIn(text: Uint8Array, count: number, random: Random): Case[] {
  const places: Record<"inside" | "boundary", number[]> = { inside: [], boundary: [] };
  let lineStart = 0;
  for (let end = 0; end <= text.length; end++) {
    if (end < text.length && text[end] !== NEWLINE) continue;
    const line = Buffer.from(text.subarray(lineStart, end)).toString("latin1");
    const first = Math.max(1, line.length - line.trimStart().length);
    for (let column = first; column < line.trimEnd().length; column++) {
      const at = lineStart + column;
      if (at < SHORTEST_PREFIX || text[at] >= 128) continue;
      places[isWord(text[at - 1]) && isWord(text[at]) ? "inside" : "boundary"].push(at);
    }
    lineStart = end + 1;
  }
  const draw = (from: number[]) => {
    const drawn: number[] = [];
    for (let i = 0; i < count / 2 && from.length > 0; i++)
      drawn.push(...from.splice(Math.floor(random() * from.length), 1));
    return drawn;
  };
  return [
    ...draw(places.inside).map((at) => ({ at, isInside: true })),
    ...draw(places.boundary).map((at) => ({ at, isInside: false })),
  ];
}

function isWord(byte: number): boolean {
  return /\w/.test(String.fromCharCode(byte));
}

/** Up to the line's end, without white space there. */
function lineOf(text: Uint8Array): Uint8Array {
  const end = text.indexOf(NEWLINE);
  return Buffer.from(
    Buffer.from(end < 0 ? text : text.subarray(0, end))
      .toString("latin1")
      .trimEnd(),
    "latin1",
  );
}

function commonLength(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function table(tally: Map<string, { exact: number; matched: number; count: number }>): string {
  const lines = ["| exact, matched | inside words | at boundaries | all |", "|---|---:|---:|---:|"];
  let counts = "";
  for (const method of METHODS) {
    if (!tally.has(`${method}, true`) && !tally.has(`${method}, false`)) continue;
    const groups = [true, false].map(
      (isInside) => tally.get(`${method}, ${isInside}`) ?? { exact: 0, matched: 0, count: 0 },
    );
    const all = { exact: 0, matched: 0, count: 0 };
    for (const group of groups) for (const key of ["exact", "matched", "count"] as const) all[key] += group[key];
    const cells = [...groups, all].map(
      ({ exact, matched, count }) => `${(exact / count).toFixed(3)}, ${(matched / count).toFixed(3)}`,
    );
    lines.push(`| ${method} | ${cells.join(" | ")} |`);
    counts = `${groups[0].count} + ${groups[1].count} cases`;
  }
  return [...lines, counts].join("\n");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
