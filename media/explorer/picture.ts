/** The explorer as a picture: the plot, and the text as each segmentation cuts it, in SVG. Pure. */
import { escapeHtml } from "../../model-runtime/display/html";
import type { ByteText } from "./byte-text";
import { names, type Segmentation } from "./segmentations";

export interface Colours {
  ground: string;
  text: string;
  muted: string;
  rule: string;
  accent: string;
  boundary: string;
  /** Of segments, one after the other. */
  patches: readonly string[];
}

export interface Picture {
  name: string;
  model: string;
  content: ByteText;
  /** [n] what is plotted. */
  plotted: Float32Array;
  threshold: number;
  segmentations: readonly Segmentation[];
  colours: Colours;
}

/** Lines of text that are drawn; a note says that there are more. */
export const MOST_LINES = 400;
/** Characters of a line. */
const MOST_COLUMNS = 100;
const FONT = { size: 12, width: 7.23, line: 17 };
const MARGIN = 20;
const PLOT_HEIGHT = 180;

export function svgOf({ name, model, content, plotted, threshold, segmentations, colours }: Picture): string {
  const shown = segmentations.filter(({ starts }) => starts !== null);
  const lines = Math.min(MOST_LINES, content.lineCount);
  const columns = Math.min(
    MOST_COLUMNS,
    Math.max(24, ...Array.from({ length: lines }, (_, line) => content.lineEnd(line) - content.lineStarts[line])),
  );
  const paneWidth = columns * FONT.width + 24;
  const width = Math.max(640, MARGIN * 2 + shown.length * paneWidth);
  const top = MARGIN * 2 + PLOT_HEIGHT + 46;
  const height = top + 44 + (lines + (content.lineCount > lines ? 1 : 0)) * FONT.line + MARGIN;
  const panes = shown.map((segmentation, i) =>
    pane(segmentation, content, { lines, x: MARGIN + i * paneWidth, top, width: paneWidth - 24, colours }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="${FONT.size}">
<title>${escapeHtml(`How the model ${model} reads ${name}`)}</title>
<rect width="100%" height="100%" fill="${colours.ground}"/>
<text x="${MARGIN}" y="${MARGIN + 6}" fill="${colours.text}" font-size="15" font-weight="bold">${escapeHtml(name)}</text>
<text x="${MARGIN}" y="${MARGIN + 26}" fill="${colours.muted}">${escapeHtml(`${content.bytes.length} bytes · ${model} · threshold ${threshold.toFixed(3)} nats`)}</text>
${plot(plotted, threshold, { x: MARGIN, y: MARGIN + 40, width: width - 2 * MARGIN, height: PLOT_HEIGHT }, colours)}
${panes.join("\n")}
</svg>`;
}

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

function plot(values: Float32Array, threshold: number, { x, y, width, height }: Box, colours: Colours): string {
  const most = Math.max(1, threshold, ...chunked(values, Math.max)) * 1.05;
  const least = Math.min(0, threshold, ...chunked(values, Math.min));
  const down = (value: number) => (y + height - ((value - least) / (most - least)) * height).toFixed(1);
  // At most two points a column: the least and the most of the values that fall on it.
  const step = Math.max(1, Math.ceil(values.length / width));
  const points: string[] = [];
  for (let from = 0; from < values.length; from += step) {
    const part = values.subarray(from, from + step).filter((value) => !Number.isNaN(value));
    if (part.length === 0) continue;
    const at = (x + (from / Math.max(1, values.length)) * width).toFixed(1);
    points.push(`${at},${down(Math.max(...part))}`);
    if (step > 1) points.push(`${at},${down(Math.min(...part))}`);
  }
  const line = down(threshold);
  return `<g><polyline points="${points.join(" ")}" fill="none" stroke="${colours.accent}" stroke-width="1"/><line x1="${x}" x2="${x + width}" y1="${y + height}" y2="${y + height}" stroke="${colours.rule}"/><line x1="${x}" x2="${x + width}" y1="${line}" y2="${line}" stroke="${colours.boundary}" stroke-dasharray="6 4"/><text x="${x + width}" y="${Number(line) - 5}" text-anchor="end" fill="${colours.text}">${threshold.toFixed(3)} nats</text></g>`;
}

function pane(
  { id, starts }: Segmentation,
  content: ByteText,
  { lines, x, top, width, colours }: { lines: number; x: number; top: number; width: number; colours: Colours },
): string {
  const { name, unit } = names[id];
  const mean = (content.bytes.length / Math.max(1, starts!.length)).toFixed(2);
  const parts = [
    `<text x="${x}" y="${top}" fill="${colours.text}" font-weight="bold">${escapeHtml(name)}</text>`,
    `<text x="${x}" y="${top + 16}" fill="${colours.muted}">${starts!.length} · ${mean} bytes a ${unit}</text>`,
  ];
  for (let line = 0; line < lines; line++) {
    const base = top + 44 + line * FONT.line;
    let column = 0;
    let text = "";
    for (const cell of content.cells(line, starts!)) {
      const characters = [...cell.text];
      const room = Math.floor(width / FONT.width) - column;
      if (room <= 0) break;
      const cut = characters.slice(0, room).join("");
      const [left, wide] = [
        (x + column * FONT.width).toFixed(1),
        (Math.min(room, characters.length) * FONT.width).toFixed(1),
      ];
      parts.push(
        `<rect x="${left}" y="${base - 12.5}" width="${wide}" height="${FONT.line}" fill="${colours.patches[cell.segment % colours.patches.length]}"/>`,
      );
      if (cell.isStart)
        parts.push(`<rect x="${left}" y="${base - 12.5}" width="1" height="${FONT.line}" fill="${colours.boundary}"/>`);
      text += cut;
      column += characters.length;
    }
    parts.push(
      `<text x="${x}" y="${base}" fill="${colours.text}" xml:space="preserve" textLength="${([...text].length * FONT.width).toFixed(1)}">${escapeHtml(text)}</text>`,
    );
  }
  if (content.lineCount > lines)
    parts.push(
      `<text x="${x}" y="${top + 44 + lines * FONT.line}" fill="${colours.muted}">… ${content.lineCount - lines} more lines</text>`,
    );
  return `<g>${parts.join("")}</g>`;
}

/** The most or least of numbers that may be too many for one call. */
function chunked(values: Float32Array, of: (...values: number[]) => number): number[] {
  const found: number[] = [];
  for (let from = 0; from < values.length; from += 10_000) {
    const part = values.subarray(from, from + 10_000).filter((value) => !Number.isNaN(value));
    if (part.length > 0) found.push(of(...part));
  }
  return found;
}
