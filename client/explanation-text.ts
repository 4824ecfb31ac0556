/** The hover's words: what is to be said of a character, in Markdown. Pure. */
import type { ByteExplanation, Continuation, Explanation } from "../server/overlay-protocol";

/** What is known of the character's bytes, patch and boundaries. */
export function explanationMarkdown({ bytes, patch, rule }: Explanation): string {
  const size = `${patch.bytes} ${patch.bytes === 1 ? "byte" : "bytes"}`;
  const title = `**Patch ${patch.index}** · ${size} · ${code(patch.text)}`;
  return [title, ...bytes.map((byte) => byteMarkdown(byte, bytes.length > 1)), `Rule: ${rule}.`].join("\n\n");
}

/** What the model would have written. */
export function continuationMarkdown({ text }: Continuation): string {
  if (text === "") return "**The model would have ended the text here.**";
  return `**The model would have written** ${code(text.replaceAll("\n", "↵").replaceAll("\t", "⇥"))}`;
}

function byteMarkdown(
  { byte, entropy, probability, likeliest, mixed, startsPatch, reason }: ByteExplanation,
  ofMany: boolean,
): string {
  const name = byte === null ? "End of the text" : ofMany ? `Byte ${hexadecimal(byte)}` : `Byte ${nameOf(byte)}`;
  const lines: string[] = [];
  if (entropy !== null)
    lines.push(
      `${name}: entropy **${entropy.toFixed(2)} nats** (${(entropy / Math.LN2).toFixed(2)} bits) before it${
        probability === null ? "" : `, probability ${percent(probability)}`
      }`,
    );
  else lines.push(name);
  if (mixed !== null)
    lines.push(
      `With the workspace's counts: entropy **${mixed.entropy.toFixed(2)} nats**${
        mixed.probability === null ? "" : `, probability ${percent(mixed.probability)}`
      }`,
    );
  lines.push(`${startsPatch ? "│ **A patch starts here.**" : "No boundary here."} ${reason}`);
  if (likeliest.length > 0)
    lines.push(
      `Likeliest: ${likeliest.map((each) => `${nameOf(each.byte)} ${percent(each.probability)}`).join(" · ")}`,
    );
  return lines.join("  \n");
}

/** A byte as people write it: a character, a name of white space, or `0xC3`. */
function nameOf(byte: number | null): string {
  if (byte === null) return "end of text";
  const named: Record<number, string> = { 9: "tab", 10: "newline", 13: "return", 32: "space" };
  if (named[byte] !== undefined) return named[byte];
  return byte > 0x20 && byte < 0x7f ? code(String.fromCharCode(byte)) : hexadecimal(byte);
}

function hexadecimal(byte: number): string {
  return `0x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

function percent(probability: number): string {
  const value = 100 * probability;
  return value >= 0.1 ? `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} %` : "< 0.1 %";
}

/** A code span that holds the text whatever it is. */
function code(text: string): string {
  const longest = Math.max(0, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  // Spaces at the edges would be taken off, and a line end would end the span.
  const shown = text.replaceAll("\n", "↵").replaceAll(" ", "\u00a0");
  return longest > 0 ? `${fence} ${shown} ${fence}` : `${fence}${shown}${fence}`;
}
