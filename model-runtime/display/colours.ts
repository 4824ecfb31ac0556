/**
 * The colours in which patches and entropies are shown, everywhere: editor, explorer, report, terminal. They are safe for
 * colour-blind people: neighbouring patches differ in lightness or in blue against orange, and a boundary has a line
 * besides; the entropy scale is ordered by lightness alone. `test/model-runtime/display/colours.test.ts` computes the
 * contrast of text on each of them. A colour is `#rrggbbaa`, to be laid over the background.
 */

/** The kinds of theme that VS Code knows. */
export type ThemeKind = "light" | "dark" | "highContrast" | "highContrastLight";

export interface Scheme {
  /** Of patches, one after the other, then from the first again. */
  patches: readonly string[];
  /** Of the levels of entropy above the lowest, which has none: `entropyLevel` 1 and up. */
  entropy: readonly string[];
  /** The same levels where no text stands on them: bars and lines of drawings. */
  drawn: readonly string[];
  /** The line where a patch starts. */
  boundary: string;
  /** Mark of a surprising place in the overview ruler. */
  surprise: string;
}

export const schemes: Readonly<Record<ThemeKind, Scheme>> = {
  light: {
    patches: ["#2f7fd140", "#f0a01f4d", "#9a5fd63d", "#3fa34d38"],
    entropy: ["#ffb4001f", "#ffb00038", "#ffad0050", "#ffa90066", "#ffa5007a", "#ffa50089", "#ffa30096"],
    drawn: ["#ffdf9c", "#ffcb6b", "#ffb541", "#fb9a1f", "#ee7d12", "#d9600f", "#b8440d"],
    boundary: "#0b4f8acc",
    surprise: "#c2410c",
  },
  dark: {
    patches: ["#3794ff42", "#e69f003d", "#b07cff40", "#4fbf5f38"],
    entropy: ["#ffa51a0f", "#ffa01a1c", "#ff9b1a28", "#ff961a33", "#ff931a39", "#ff901a3f", "#ff911a42"],
    drawn: ["#5b4a2c", "#7a5e2b", "#9c7428", "#bf8724", "#dc9526", "#f2a436", "#ffb95c"],
    boundary: "#8cc8ffcc",
    surprise: "#ff8c42",
  },
  highContrast: {
    patches: ["#00439c", "#6b3d00", "#5a1a86", "#0f5a2a"],
    entropy: ["#1c1200", "#2c1d00", "#3d2800", "#4f3200", "#613c00", "#704300", "#804a00"],
    drawn: ["#6b5a33", "#8a6f2e", "#ab8428", "#cd9720", "#e8a626", "#ffb73d", "#ffd27f"],
    boundary: "#ffffff",
    surprise: "#ffb000",
  },
  highContrastLight: {
    patches: ["#bcdcff", "#ffd894", "#e3ccff", "#c3eebf"],
    entropy: ["#fff3d1", "#ffe6ad", "#ffd98a", "#ffc966", "#ffb84d", "#ffaa42", "#ff9d3a"],
    drawn: ["#e6b95c", "#d99a2b", "#c47d12", "#a8620a", "#8c4a05", "#6f3603", "#522502"],
    boundary: "#292929",
    surprise: "#a33a00",
  },
};

/** Where the levels of entropy begin, nats. One scale for every text, so that a colour means the same everywhere. */
export const ENTROPY_LEVELS: readonly number[] = [0.25, 0.6, 1, 1.5, 2.1, 2.8, 3.6];

/** Level 0 to 7 of an entropy in nats: the number of steps of `ENTROPY_LEVELS` it has reached. */
export function entropyLevel(nats: number): number {
  let level = 0;
  while (level < ENTROPY_LEVELS.length && nats >= ENTROPY_LEVELS[level]) level++;
  return level;
}

/** Red, green, blue from 0 to 255, and opacity from 0 to 1. */
export type Rgba = readonly [number, number, number, number];

/** `#rrggbb` or `#rrggbbaa` -> numbers. */
export function parseColour(colour: string): Rgba {
  const [r, g, b, a] = [1, 3, 5, 7].map((at) => Number.parseInt(colour.slice(at, at + 2) || "ff", 16));
  return [r, g, b, a / 255];
}

/** A colour laid over an opaque background. */
export function over(colour: string, background: string): Rgba {
  const [top, below] = [parseColour(colour), parseColour(background)];
  const mix = (channel: 0 | 1 | 2) => top[channel] * top[3] + below[channel] * (1 - top[3]);
  return [mix(0), mix(1), mix(2), 1];
}

/** `#rrggbb` of an opaque colour. */
export function hexadecimal([r, g, b]: Rgba): string {
  return `#${[r, g, b].map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("")}`;
}
