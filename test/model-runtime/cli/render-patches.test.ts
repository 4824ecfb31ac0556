import assert from "node:assert/strict";
import fc from "fast-check";
import { characterLength, renderPatches } from "../../../model-runtime/cli/render-patches";

const blue = "\x1b[38;5;16;48;5;153m";
const orange = "\x1b[38;5;16;48;5;223m";
const off = "\x1b[0m";

describe("renderPatches", () => {
  function check(text: string | number[], starts: number[], plain: string, coloured?: string) {
    const bytes = typeof text === "string" ? Buffer.from(text) : Uint8Array.from(text);
    assert.equal([...renderPatches(bytes, starts, { coloured: false })].join(""), plain);
    if (coloured !== undefined) assert.equal([...renderPatches(bytes, starts, { coloured: true })].join(""), coloured);
  }

  it("sets patches apart", () => {
    check("abcd", [0, 1, 3], "a|bc|d", `${blue}a${off}${orange}bc${off}${blue}d${off}`);
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

  it("gives a long line in pieces", () => {
    const pieces = [...renderPatches(new Uint8Array(500_000).fill(0x61), [0, 250_000], { coloured: false })];
    assert.ok(pieces.length > 3);
    assert.equal(pieces.join("").length, 500_001);
  });

  it("differs in colour only", () => {
    const patches = fc.array(fc.uint8Array({ minLength: 1, maxLength: 6 }), { minLength: 1 });
    fc.assert(
      fc.property(patches, (parts) => {
        const lengths = parts.map(({ length }) => length);
        const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, length) => sum + length, 0));
        const render = (coloured: boolean) =>
          [...renderPatches(Buffer.concat(parts), starts, { coloured })].join("").split(off).join("");
        const boundaries = render(false)
          .split("")
          .filter((character) => character === "|").length;
        const bars = Buffer.concat(parts).filter((byte) => byte === 0x7c).length;
        assert.equal(boundaries, parts.length - 1 + bars);
        const bare = render(true).split(blue).join("").split(orange).join("");
        assert.equal(bare.split("|").join(""), render(false).split("|").join(""));
      }),
    );
  });
});

describe("characterLength", () => {
  it("agrees with the decoder of the platform", () => {
    const near = fc.oneof(
      fc.string({ unit: "binary", maxLength: 2 }).map((text) => Uint8Array.from(Buffer.from(text))),
      fc.uint8Array({ maxLength: 5 }),
      fc
        .tuple(fc.constantFrom(0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5), fc.uint8Array({ maxLength: 4 }))
        .map(([lead, rest]) =>
          Uint8Array.of(lead, ...rest.map((byte) => (byte % 4 > 0 ? 0x80 | (byte & 0x3f) : byte))),
        ),
    );
    const isCharacter = (bytes: Uint8Array) => {
      const text = Buffer.from(bytes).toString("utf8");
      return Buffer.from(text).equals(bytes) && Array.from(text).length === 1;
    };
    fc.assert(
      fc.property(near, (bytes) => {
        const expected = [1, 2, 3, 4].find((n) => n <= bytes.length && isCharacter(bytes.subarray(0, n))) ?? 0;
        if (bytes.length > 0) assert.equal(characterLength(bytes, 0, bytes.length), expected);
      }),
      { numRuns: 2000 },
    );
  });
});
