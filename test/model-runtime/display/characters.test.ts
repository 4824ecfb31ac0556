import assert from "node:assert/strict";
import fc from "fast-check";
import { characterLength } from "../../../model-runtime/display/characters";

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
