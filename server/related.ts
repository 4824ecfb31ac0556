/**
 * Parts of other open files that are about the same things as the text at the cursor: what the model reads before the
 * document's own text (test/bench/context-value.ts says what they are worth). Likeness is that of names, rare ones counting
 * more. Texts are cut into parts in slices, so that the LSP thread is never kept long, and stay cut until they change.
 */
import { setImmediate as nextTurn } from "node:timers/promises";

/** A text that parts may be taken from; line ends are "\n". */
export interface OtherText {
  uri: string;
  version: number;
  text: string;
}

interface Part {
  lines: string;
  names: ReadonlySet<string>;
}

/** Lines of a part, and from one part's start to the next one's. */
const [PART_LINES, STEP_LINES] = [16, 8];
/** Names that a part must share with the text at the cursor. */
const LEAST_SHARED = 3;
/** How much of a text is looked at, from its start, UTF-16 code units. */
const LONGEST_TEXT = 100_000;
/** Parts that are cut in one turn: some milliseconds. */
const PARTS_A_TURN = 50;

export class RelatedParts {
  private readonly cut = new Map<string, { version: number; parts: readonly Part[] }>();

  /**
   * The parts that share most with `query`, the best one last, each with a blank line behind it; empty when none does.
   * @param maxLength UTF-16 code units
   */
  async find(query: string, others: readonly OtherText[], maxLength: number): Promise<string> {
    const known = new Set(others.map(({ uri }) => uri));
    for (const uri of this.cut.keys()) if (!known.has(uri)) this.cut.delete(uri);
    const parts: Part[] = [];
    for (const other of others) parts.push(...(await this.partsOf(other)));
    return choose(score(namesIn(query), parts), maxLength)
      .map((part) => `${part}\n\n`)
      .join("");
  }

  private async partsOf({ uri, version, text }: OtherText): Promise<readonly Part[]> {
    const known = this.cut.get(uri);
    if (known?.version === version) return known.parts;
    const lines = text.slice(0, LONGEST_TEXT).split("\n");
    const parts: Part[] = [];
    for (let start = 0; ; start += STEP_LINES) {
      const part = lines.slice(start, start + PART_LINES).join("\n");
      parts.push({ lines: part, names: namesIn(part) });
      if (start + PART_LINES >= lines.length) break;
      if (parts.length % PARTS_A_TURN === 0) await nextTurn();
    }
    this.cut.set(uri, { version, parts });
    return parts;
  }
}

/** The parts with enough names in common, the most alike first. */
function score(wanted: ReadonlySet<string>, parts: readonly Part[]): string[] {
  const frequency = new Map<string, number>();
  for (const { names } of parts)
    for (const name of names) if (wanted.has(name)) frequency.set(name, (frequency.get(name) ?? 0) + 1);
  const scored = parts.flatMap(({ lines, names }) => {
    const shared = [...names].filter((name) => wanted.has(name));
    const rarity = shared.reduce((sum, name) => sum + Math.log(1 + parts.length / frequency.get(name)!), 0);
    return shared.length < LEAST_SHARED ? [] : [{ lines, score: rarity / Math.sqrt(names.size) }];
  });
  return scored.sort((a, b) => b.score - a.score).map(({ lines }) => lines);
}

/** As many of the parts as fit, without those that share lines with one chosen before; the first one last. */
function choose(parts: readonly string[], maxLength: number): string[] {
  const chosen: string[] = [];
  let left = maxLength;
  for (const part of parts) {
    if (part.length + 2 > left || chosen.some((other) => overlaps(other, part))) continue;
    chosen.unshift(part);
    left -= part.length + 2;
  }
  return chosen;
}

/** Words of three letters at least. */
function namesIn(text: string): ReadonlySet<string> {
  return new Set(text.match(/[\p{L}_$][\p{L}\p{N}_$]{2,}/gu) ?? []);
}

/** Whether two parts of one text overlap: then the lines behind the middle of one are in the other. */
function overlaps(a: string, b: string): boolean {
  const middle = (part: string) =>
    part
      .split("\n")
      .slice(STEP_LINES, STEP_LINES + 2)
      .join("\n");
  return [
    [a, b],
    [b, a],
  ].some(([one, other]) => middle(one).trim() !== "" && other.includes(middle(one)));
}
