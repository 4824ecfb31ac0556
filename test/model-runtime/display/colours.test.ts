import assert from "node:assert/strict";
import {
  ENTROPY_LEVELS,
  entropyLevel,
  hexadecimal,
  over,
  type Rgba,
  schemes,
  type ThemeKind,
} from "../../../model-runtime/display/colours";
import { contributes } from "../../../package.json";

/** Background and text of VS Code's own themes (Light Modern, Dark Modern, High Contrast, High Contrast Light). */
const themes: Record<ThemeKind, { background: string; text: string; least: number; code: string[] }> = {
  // `code`: comments, keywords, strings, functions, types; 3 is what WCAG asks of large or incidental text.
  light: {
    background: "#ffffff",
    text: "#3b3b3b",
    least: 4.5,
    code: ["#008000", "#0000ff", "#a31515", "#795e26", "#267f99"],
  },
  dark: {
    background: "#1f1f1f",
    text: "#cccccc",
    least: 4.5,
    code: ["#6a9955", "#569cd6", "#ce9178", "#dcdcaa", "#4ec9b0"],
  },
  highContrast: { background: "#000000", text: "#ffffff", least: 7, code: [] },
  highContrastLight: { background: "#ffffff", text: "#292929", least: 7, code: [] },
};

/** Relative luminance and contrast ratio of WCAG 2.2. */
function luminance(colour: Rgba): number {
  const [r, g, b] = linear(colour);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: Rgba, b: Rgba): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

function linear([r, g, b]: Rgba): number[] {
  return [r, g, b].map((channel) => {
    const value = channel / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
}

/** What is seen without one kind of cones: Machado, Oliveira and Fernandes 2009, severity 1, on linear light. */
const sights: Record<string, number[][]> = {
  everyone: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

/** CIE L*a*b* (D65) of a colour as someone sees it. */
function seen(colour: Rgba, sight: number[][]): number[] {
  const rgb = linear(colour);
  const [r, g, b] = sight.map((row) => Math.max(0, row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2]));
  const f = (t: number) => (t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 / 116) * t + 16 / 116);
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

describe("colours of patches and entropies", () => {
  for (const kind of Object.keys(themes) as ThemeKind[]) {
    const { background, text, least, code } = themes[kind];
    const { patches, entropy, boundary, surprise } = schemes[kind];
    const laid = (colour: string) => over(colour, background);
    const difference = (a: Rgba, b: Rgba, sight: number[][]) => {
      const [from, to] = [seen(a, sight), seen(b, sight)];
      return Math.hypot(...from.map((value, i) => value - to[i]));
    };

    it(`leave text readable in a ${kind} theme`, () => {
      for (const colour of [...patches, ...entropy]) {
        const ratio = contrast(laid(colour), over(text, background));
        assert.ok(ratio >= least, `${colour}: contrast ${ratio.toFixed(2)} is below ${least}`);
        for (const token of code) {
          const ofToken = contrast(laid(colour), over(token, background));
          assert.ok(ofToken >= 3, `${token} on ${colour}: contrast ${ofToken.toFixed(2)} is below 3`);
        }
      }
    });

    it(`have lines and marks that are seen in a ${kind} theme`, () => {
      for (const under of [background, ...patches.map((colour) => hexadecimal(laid(colour)))])
        assert.ok(contrast(over(boundary, under), over(under, background)) >= 3, `boundary on ${under}`);
      assert.ok(contrast(laid(surprise), laid(background)) >= 3, "surprise");
    });

    for (const [name, sight] of Object.entries(sights)) {
      it(`tell neighbouring patches apart in a ${kind} theme (${name})`, () => {
        patches.forEach((colour, i) => {
          const next = patches[(i + 1) % patches.length];
          const apart = difference(laid(colour), laid(next), sight);
          assert.ok(apart >= 5, `${colour} and ${next}: ${apart.toFixed(1)}`);
        });
      });

      it(`order entropies by lightness in a ${kind} theme (${name})`, () => {
        const lightness = [background, ...entropy].map((colour) => seen(laid(colour), sight)[0]);
        const rises = luminance(laid(entropy[0])) > luminance(laid(background));
        for (let i = 1; i < lightness.length; i++) {
          const step = rises ? lightness[i] - lightness[i - 1] : lightness[i - 1] - lightness[i];
          assert.ok(step > 0.5, `level ${i}: lightness ${lightness.map((each) => each.toFixed(1)).join(" ")}`);
        }
      });
    }
  }

  it("are offered to themes under names of their own, with these defaults", () => {
    const names: [string, (kind: ThemeKind) => string][] = [
      ...[0, 1, 2, 3].map((i): [string, (kind: ThemeKind) => string] => [
        `blt.patch${i + 1}Background`,
        (kind) => schemes[kind].patches[i],
      ]),
      ...ENTROPY_LEVELS.map((_, i): [string, (kind: ThemeKind) => string] => [
        `blt.entropy${i + 1}Background`,
        (kind) => schemes[kind].entropy[i],
      ]),
      ["blt.patchBoundary", (kind) => schemes[kind].boundary],
      ["blt.surpriseForeground", (kind) => schemes[kind].surprise],
    ];
    assert.deepEqual(
      contributes.colors.map(({ id, defaults }) => [id, defaults]),
      names.map(([id, of]) => [
        id,
        {
          light: of("light"),
          dark: of("dark"),
          highContrast: of("highContrast"),
          highContrastLight: of("highContrastLight"),
        },
      ]),
    );
  });

  it("give each entropy its level", () => {
    assert.deepEqual(
      [0, 0.24, 0.25, 0.99, 1, 3.59, 3.6, 5.56, Number.NaN].map(entropyLevel),
      [0, 0, 1, 2, 3, 6, 7, 7, 0],
    );
  });
});
