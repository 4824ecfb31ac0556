import assert from "node:assert/strict";
import { continuationMarkdown, explanationMarkdown } from "../../client/explanation-text";
import type { Explanation } from "../../server/overlay-protocol";

const at = (line: number, character: number) => ({ line, character });
const explanation: Explanation = {
  character: 4,
  length: 1,
  bytes: [
    {
      offset: 4,
      byte: 0x61,
      entropy: 2.5,
      probability: 0.0312,
      likeliest: [
        { byte: 0x60, probability: 0.62 },
        { byte: 10, probability: 0.05 },
        { byte: null, probability: 0.0004 },
        { byte: 0xe2, probability: 0.0001 },
      ],
      mixed: null,
      startsPatch: true,
      reason: "H = 2.500 nats is above the threshold 1.335.",
    },
  ],
  patch: { from: at(0, 4), to: at(0, 8), text: "a `b↵", bytes: 5, index: 3 },
  rule: "entropy above 1.335 nats",
};

describe("explanationMarkdown", () => {
  it("tells patch, entropy, boundary and likeliest bytes", () => {
    assert.equal(
      explanationMarkdown(explanation),
      [
        "**Patch 3** · 5 bytes · `` a\u00a0`b↵ ``",
        "Byte `a`: entropy **2.50 nats** (3.61 bits) before it, probability 3.1 %  \n" +
          "│ **A patch starts here.** H = 2.500 nats is above the threshold 1.335.  \n" +
          "Likeliest: `` ` `` 62 % · newline 5.0 % · end of text < 0.1 % · 0xE2 < 0.1 %",
        "Rule: entropy above 1.335 nats.",
      ].join("\n\n"),
    );
  });

  it("tells what the workspace's counts make of it", () => {
    const bytes = [{ ...explanation.bytes[0], mixed: { entropy: 0.25, probability: 0.9 } }];
    const counted = "With the workspace's counts: entropy **0.25 nats**, probability 90 %  \n";
    assert.ok(explanationMarkdown({ ...explanation, bytes }).includes(counted));
  });

  it("names each byte of a character, and the end of the text", () => {
    const byte = { ...explanation.bytes[0], startsPatch: false, reason: "H is not above.", likeliest: [] };
    const many = explanationMarkdown({
      ...explanation,
      bytes: [
        { ...byte, byte: 0xc3 },
        { ...byte, byte: 0x9f },
      ],
    });
    assert.match(many, /Byte 0xC3: .*No boundary here\. H is not above\./s);
    assert.match(many, /Byte 0x9F: /);
    const end = explanationMarkdown({ ...explanation, bytes: [{ ...byte, byte: null, probability: null }] });
    assert.match(end, /End of the text: entropy \*\*2\.50 nats\*\* \(3\.61 bits\) before it {2}\n/);
  });
});

describe("continuationMarkdown", () => {
  it("shows what the model would have written, whatever it is", () => {
    assert.equal(
      continuationMarkdown({ text: "\treturn `x`" }),
      "**The model would have written** `` ⇥return\u00a0`x` ``",
    );
    assert.match(continuationMarkdown({ text: "" }), /would have ended/);
  });
});
