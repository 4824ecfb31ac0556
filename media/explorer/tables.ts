/** What the explorer exports as tables: CSV with a row a byte, JSON with all that was shown. Pure. */
import type { ByteText } from "./byte-text";
import type { Parameters, Segmentation } from "./segmentations";

export interface Exported {
  name: string;
  model: string;
  content: ByteText;
  entropies: Float32Array;
  parameters: Parameters;
  segmentations: readonly Segmentation[];
}

/** RFC 4180; a column of each segmentation says whether one of its segments starts at the byte (1) or not (0). */
export function csvOf({ content, entropies, segmentations }: Exported): string {
  const known = segmentations.filter(({ starts }) => starts !== null);
  const rows = [["offset", "byte", "text", "entropy_nats", ...known.map(({ id }) => `${id}_start`)]];
  const next = known.map(() => 0);
  content.bytes.forEach((byte, at) => {
    const flags = known.map(({ starts }, i) => {
      const isStart = starts![next[i]] === at;
      if (isStart) next[i]++;
      return isStart ? "1" : "0";
    });
    const shown = byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "";
    rows.push([String(at), String(byte), quoted(shown), digits(entropies[at]), ...flags]);
  });
  return `${rows.map((row) => row.join(",")).join("\r\n")}\r\n`;
}

export function jsonOf({ name, model, content, entropies, parameters, segmentations }: Exported): string {
  const cuts = segmentations
    .filter(({ starts }) => starts !== null)
    .map(({ id, starts }) => [
      id,
      { count: starts!.length, bytesEach: content.bytes.length / starts!.length, starts: [...starts!] },
    ]);
  return JSON.stringify({
    name,
    model,
    parameters,
    bytes: content.bytes.length,
    text: content.text,
    entropies: Array.from(entropies, (entropy) => Number(entropy.toPrecision(6))),
    segmentations: Object.fromEntries(cuts),
  });
}

function quoted(text: string): string {
  return /[",\s]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function digits(value: number): string {
  return Number.isNaN(value) ? "" : String(Number(value.toPrecision(6)));
}
