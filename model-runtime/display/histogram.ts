/** A histogram as a drawing (SVG) and as a table, which says the same to those who do not see the drawing. */
import { escapeHtml, grouped } from "./html";

export interface Histogram {
  /** What is counted, for the drawing's name: `Bytes by entropy`. */
  title: string;
  /** Name of the horizontal axis, with the unit. */
  axis: string;
  bars: readonly Bar[];
}

export interface Bar {
  /** Under the bar; empty for none. */
  tick: string;
  /** In the table and the tooltip: `0.25 to 0.5 nats`. */
  range: string;
  count: number;
  /** Class of the bar, which gives it its colour. */
  style: string;
}

const WIDTH = 560;
const HEIGHT = 220;
const MARGIN = { top: 12, right: 8, bottom: 40, left: 52 };

/** A figure with both. */
export function histogramFigure(histogram: Histogram): string {
  return `<figure><figcaption>${escapeHtml(histogram.title)}</figcaption>${drawing(histogram)}
<details><summary>The numbers</summary>${table(histogram)}</details></figure>`;
}

function drawing({ title, axis, bars }: Histogram): string {
  const total = bars.reduce((sum, { count }) => sum + count, 0);
  const most = Math.max(1, ...bars.map(({ count }) => count));
  const width = (WIDTH - MARGIN.left - MARGIN.right) / bars.length;
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const floor = MARGIN.top + height;
  const share = (count: number) => `${((100 * count) / Math.max(1, total)).toFixed(1)} %`;
  const columns = bars.map(({ tick, range, count, style }, i) => {
    const x = MARGIN.left + i * width;
    const tall = (height * count) / most;
    const label =
      tick === "" ? "" : `<text x="${n(x)}" y="${floor + 16}" text-anchor="middle">${escapeHtml(tick)}</text>`;
    return `<g><title>${escapeHtml(range)}: ${grouped(count)} (${share(count)})</title><rect class="area" x="${n(x)}" y="${MARGIN.top}" width="${n(width)}" height="${height}"/><rect class="bar ${style}" x="${n(x + 0.75)}" y="${n(floor - tall)}" width="${n(width - 1.5)}" height="${n(tall)}" rx="1.5"/>${label}</g>`;
  });
  const lines = [0.5, 1].map((part) => {
    const y = n(floor - part * height);
    return `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y}" y2="${y}"/><text x="${MARGIN.left - 6}" y="${y + 4}" text-anchor="end">${share(most * part)}</text>`;
  });
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(`${title}. ${summary(bars, total)}`)}">${lines.join("")}${columns.join("")}<line class="axis" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${floor}" y2="${floor}"/><text class="name" x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(axis)}</text></svg>`;
}

/** Where the middle lies and where most are, in words. */
function summary(bars: readonly Bar[], total: number): string {
  if (total === 0) return "There are none.";
  let seen = 0;
  const middle = bars.find(({ count }) => (seen += count) * 2 >= total);
  const most = bars.reduce((best, bar) => (bar.count > best.count ? bar : best));
  return `Half are at or below ${middle?.range}; most are at ${most.range}.`;
}

function table({ axis, bars }: Histogram): string {
  const rows = bars.map(({ range, count }) => `<tr><td>${escapeHtml(range)}</td><td>${grouped(count)}</td></tr>`);
  return `<table class="numbers"><thead><tr><th scope="col">${escapeHtml(axis)}</th><th scope="col">Count</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

/** A coordinate, short. */
function n(value: number): number {
  return Math.round(value * 100) / 100;
}
