/** The colours of patches and entropies as escape sequences of a terminal: dark text on a pale background, both set. */
import { parseColour, schemes } from "./colours";

/** What a terminal can show: `none`, the 256 colours of xterm, or any. */
export type ColourDepth = "none" | "palette" | "full";

/** Backgrounds that are read in light and dark terminals alike. */
const { patches, entropy } = schemes.highContrastLight;

/** Sequences that begin a patch, and bytes of an entropy level (0 and up); `plain` ends either. */
export interface TerminalColours {
  patches: readonly string[];
  levels: readonly string[];
}

export const plain = "\x1b[0m";

export function terminalColours(depth: "palette" | "full"): TerminalColours {
  const sequence = (colour: string) => {
    const [r, g, b] = parseColour(colour);
    return depth === "full"
      ? `\x1b[38;2;0;0;0;48;2;${r};${g};${b}m`
      : `\x1b[38;5;16;48;5;${nearestOfPalette(r, g, b)}m`;
  };
  return { patches: patches.map(sequence), levels: ["#ffffff", ...entropy].map(sequence) };
}

/** Channel values of xterm's cube of 6 x 6 x 6 colours, which begins at index 16. */
const STEPS = [0, 95, 135, 175, 215, 255];

function nearestOfPalette(...channels: [number, number, number]): number {
  const [r, g, b] = channels.map((value) =>
    STEPS.reduce((best, step, i) => (Math.abs(step - value) < Math.abs(STEPS[best] - value) ? i : best), 0),
  );
  return 16 + 36 * r + 6 * g + b;
}
