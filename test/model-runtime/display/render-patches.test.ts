import assert from "node:assert/strict";
import fc from "fast-check";
import { type RenderOptions, renderPatches, type View } from "../../../model-runtime/display/render-patches";
import { plain, terminalColours } from "../../../model-runtime/display/terminal-colours";

const bare: RenderOptions = { colours: "none", view: "patches" };
const { patches: backgrounds, levels } = terminalColours("palette");
const [blue, orange] = backgrounds;
const off = plain;

describe("renderPatches", () => {
  function check(text: string | number[], starts: number[], plain: string, coloured?: string) {
    const bytes = typeof text === "string" ? Buffer.from(text) : Uint8Array.from(text);
    assert.equal([...renderPatches(bytes, starts, null, bare)].join(""), plain);
    if (coloured === undefined) return;
    assert.equal([...renderPatches(bytes, starts, null, { ...bare, colours: "palette" })].join(""), coloured);
  }

  it("sets patches apart", () => {
    check("abcd", [0, 1, 3], "a|bc|d", `${blue}a${off}${orange}bc${off}${backgrounds[2]}d${off}`);
  });
  it("marks newlines, and colours no line to the terminal's edge", () => {
    check("a\nb", [0], "a↵\nb", `${blue}a↵${off}\n${blue}b${off}`);
    check("a\nb", [0, 2], "a↵\n|b", `${blue}a↵${off}\n${orange}b${off}`);
    check("\n", [0], "↵\n", `${blue}↵${off}\n`);
  });
  it("marks tabs and control bytes", () => check("\ta\r\n\x1b[2J\0\x7f", [0], "⇥a␍↵\n␛[2J␀␡"));
  it("shows whole characters", () => check("aß語🙂", [0, 1, 3, 6], "a|ß|語|🙂"));
  it("shows the bytes of a character that a boundary cuts", () => {
    check("語x", [0, 1], "\\xE8|\\xAA\\x9Ex");
    check("🙂", [0, 2], "\\xF0\\x9F|\\x99\\x82");
  });
  it("shows bytes that are no UTF-8", () => {
    check([0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82], [0], "a\\xFF\\xC3(\\xE2\\x82");
    check([0xc0, 0x80, 0xed, 0xa0, 0x80], [0], "\\xC0\\x80\\xED\\xA0\\x80");
  });
  it("shows the bytes of characters that change how others are shown", () => {
    check("\u202ea\u0085\u2028\ufeff", [0], "\\xE2\\x80\\xAEa\\xC2\\x85\\xE2\\x80\\xA8\\xEF\\xBB\\xBF");
  });

  it("colours bytes by the entropy before them, with bars where patches start if asked", () => {
    const show = (view: View, colours: RenderOptions["colours"]) =>
      [...renderPatches(Buffer.from("abß"), [0, 2], [5.5, 0, 0.1, 2.2], { colours, view })].join("");
    assert.equal(show("entropy", "palette"), `${levels[7]}a${off}${levels[0]}b${off}${levels[5]}ß${off}`);
    assert.equal(show("both", "palette"), `${levels[7]}a${off}${levels[0]}b${off}|${levels[5]}ß${off}`);
    assert.equal(show("entropy", "none"), "ab|ß");
    assert.ok(show("patches", "full").startsWith(`${terminalColours("full").patches[0]}ab${off}`));
  });

  it("gives a long line in pieces", () => {
    const pieces = [...renderPatches(new Uint8Array(500_000).fill(0x61), [0, 250_000], null, bare)];
    assert.ok(pieces.length > 3);
    assert.equal(pieces.join("").length, 500_001);
  });

  it("differs in colour only", () => {
    const patches = fc.array(fc.uint8Array({ minLength: 1, maxLength: 6 }), { minLength: 1 });
    fc.assert(
      fc.property(patches, (parts) => {
        const lengths = parts.map(({ length }) => length);
        const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, length) => sum + length, 0));
        const render = (colours: RenderOptions["colours"]) =>
          [...renderPatches(Buffer.concat(parts), starts, null, { ...bare, colours })].join("").split(off).join("");
        const boundaries = render("none")
          .split("")
          .filter((character) => character === "|").length;
        const bars = Buffer.concat(parts).filter((byte) => byte === 0x7c).length;
        assert.equal(boundaries, parts.length - 1 + bars);
        const uncoloured = backgrounds.reduce((text, colour) => text.split(colour).join(""), render("palette"));
        assert.equal(uncoloured.split("|").join(""), render("none").split("|").join(""));
      }),
    );
  });
});
