import assert from "node:assert/strict";
import fc from "fast-check";
import { createUtf8Stream } from "../../../model-runtime/generation/utf8-stream";

function check(chunks: number[][], expected: string[]): void {
  const stream = createUtf8Stream();
  const texts = chunks.map((chunk) => stream.push(Uint8Array.from(chunk)));
  assert.deepEqual([...texts, stream.flush()], expected);
}

/** Length of the incomplete sequence at the end, by the table of well-formed sequences (Unicode, table 3-7). */
function incompleteTail(bytes: readonly number[]): number {
  for (let length = Math.min(3, bytes.length); length > 0; length--) {
    const [lead, ...rest] = bytes.slice(-length);
    const needed =
      lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xc2 && lead <= 0xdf ? 2 : 1;
    const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    const fits = rest.every((byte, i) => byte >= (i === 0 ? low : 0x80) && byte <= (i === 0 ? high : 0xbf));
    if (length < needed && fits) return length;
  }
  return 0;
}

const anyByte = fc.oneof(
  fc.integer({ min: 0, max: 255 }),
  fc.constantFrom(0x41, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf4, 0xf5),
);

describe("the UTF-8 stream", () => {
  it("holds an incomplete character back", () => check([[0x61, 0xe2], [0x82], [0xac, 0x62]], ["a", "", "€b", ""]));
  it("holds three bytes of four", () => check([[0xf0], [0x9f], [0x98], [0x80]], ["", "", "", "😀", ""]));
  it("marks a character that the end cuts off", () => check([[0xf0, 0x9f, 0x98]], ["", "\ufffd"]));
  it("marks one that another byte cuts off", () => check([[0xe2, 0x82], [0x41]], ["", "\ufffdA", ""]));
  it("marks a byte that begins nothing at once", () =>
    check([[0xff], [0x80], [0xc0]], ["\ufffd", "\ufffd", "\ufffd", ""]));
  it("marks surrogates byte by byte", () => check([[0xed], [0xa0], [0x80]], ["", "\ufffd\ufffd", "\ufffd", ""]));
  it("keeps a byte order mark", () => check([[0xef, 0xbb, 0xbf], [0x41]], ["\ufeff", "A", ""]));

  it("begins anew after its end", () => {
    const stream = createUtf8Stream();
    stream.push(Uint8Array.of(0xe2));
    assert.equal(stream.flush(), "\ufffd");
    assert.equal(stream.push(Uint8Array.of(0x82, 0x41)), "\ufffdA");
  });

  it("shows what is complete at once, and what the whole decodes to", () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyByte, { maxLength: 5 }), { maxLength: 8 }), (chunks) => {
        const stream = createUtf8Stream();
        const read: number[] = [];
        let shown = "";
        for (const chunk of chunks) {
          shown += stream.push(Uint8Array.from(chunk));
          read.push(...chunk);
          const complete = read.slice(0, read.length - incompleteTail(read));
          assert.equal(shown, Buffer.from(complete).toString("utf8"));
        }
        assert.equal(shown + stream.flush(), Buffer.from(read).toString("utf8"));
      }),
      { numRuns: 2000 },
    );
  });
});
