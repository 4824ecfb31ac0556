import assert from "node:assert/strict";
import { type Foreseen, isForeseen, likelyQuestions } from "../../../model-runtime/lexicon/foreseen";
import { bytesOf } from "./lexicon-samples";

const strings = ["", "(", "()", ")", "();", "foo", "f", "x"];
const bytes = strings.map((string) => (string === "" ? null : bytesOf(string)));
const foreseen: Foreseen = {
  at: 10,
  path: Int32Array.of(0, 7),
  lead: new Uint8Array(),
  pieces: [4, 5].map((piece) => ({ piece, bytes: bytes[piece]!, chance: 0.9 })),
  proposals: [
    [
      { piece: 4, chance: 0.5 },
      { piece: 1, chance: 0.2 },
      { piece: 2, chance: 0.04 },
      { piece: 7, chance: 0.2 },
    ],
    [
      { piece: 5, chance: 0.9 },
      { piece: 6, chance: 0.05 },
      { piece: 0, chance: 0.05 },
    ],
    [],
  ],
};
const questions = (length: number) => likelyQuestions(foreseen, bytes, length).map((path) => Array.from(path));

describe("questions that are likely while a draft is verified", () => {
  it("are about pieces that end early and hold a tenth of what can still come", () => {
    // "(" holds .2 of .74; "()" .04 of .54; "x" is not what was foreseen; "f" .05 of .95.
    assert.deepEqual(questions(6), [[0, 7, 1]]);
    foreseen.proposals[1][1].chance = 0.3;
    assert.deepEqual(questions(6), [
      [0, 7, 1],
      [0, 7, 4, 6],
    ]);
  });

  it("end where the draft is cut", () => {
    assert.deepEqual(questions(3), [[0, 7, 1]]);
    assert.deepEqual(questions(0), []);
  });

  it("are foreseen for the text that goes on so, and no other", () => {
    const text = (end: string) => bytesOf(`0123456789_${end}`);
    assert.ok(isForeseen(foreseen, 10, text("();fo")));
    assert.ok(isForeseen(foreseen, 10, text("();foo")));
    assert.ok(!isForeseen(foreseen, 10, text("();foox")));
    assert.ok(!isForeseen(foreseen, 10, text("()x")));
    assert.ok(!isForeseen(foreseen, 10, text("")));
    assert.ok(!isForeseen(foreseen, 11, text("();fo")));
  });
});
