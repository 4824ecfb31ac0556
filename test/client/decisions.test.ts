import assert from "node:assert/strict";
import { type Moment, mergeMoments, momentLines } from "../../client/decisions";
import type { Decision } from "../../server/protocol";

const decision = (time: number, reason: Decision["reason"]): Decision => ({
  uri: "file:///a.ts",
  line: 4,
  character: 2,
  time,
  ms: 41.6,
  reason,
  sentence: `sentence ${time}`,
});
const skipped = (time: number): Moment => ({
  uri: "file:///a.ts",
  line: 0,
  character: 0,
  time,
  ms: 0,
  sentence: `sentence ${time}`,
  shown: false,
});

describe("decisions", () => {
  it("come newest first, whoever made them", () => {
    const moments = mergeMoments([decision(9, "shown"), decision(5, "lowConfidence")], [skipped(7)]);
    assert.deepEqual(
      moments.map(({ time, shown }) => [time, shown]),
      [
        [9, true],
        [7, false],
        [5, false],
      ],
    );
  });

  it("count a suggestion from the cache as shown", () => {
    assert.equal(mergeMoments([decision(1, "shownFromCache")], [])[0].shown, true);
  });

  it("name the place where a suggestion stands word for word", () => {
    const quoted = { ...decision(1, "shown"), quote: { path: "src/b.ts", line: 12 } };
    assert.equal(mergeMoments([quoted], [])[0].sentence, "sentence 1 It stands word for word in src/b.ts:12.");
  });

  it("name what came of several requests in a row, in one line, once", () => {
    const sentences = ["taken back", "taken back", "unsure", "unsure", "taken back"];
    const decisions = sentences.map((sentence, i) => ({ ...decision(10 - i, "cancelled"), sentence }));
    decisions[3].line++;
    assert.deepEqual(
      mergeMoments(decisions, []).map(({ sentence, time }) => [sentence, time]),
      [
        ["taken back (2 times)", 10],
        ["unsure", 8],
        ["unsure", 7],
        ["taken back", 6],
      ],
    );
  });
  it("are told apart by what came between, sent or not", () => {
    const decisions = [9, 5].map((time) => ({ ...decision(time, "shown"), sentence: "sent" }));
    assert.deepEqual(
      mergeMoments(decisions, [skipped(7)]).map(({ sentence }) => sentence),
      ["sent", "sentence 7", "sent"],
    );
  });

  function check(moment: Moment, now: number, label: string, description: string, detail: string) {
    const [line] = momentLines([moment], now, () => "src/a.ts");
    assert.deepEqual([line.label, line.description, line.detail], [label, description, detail]);
  }

  it("name reason, time and place, counted from one", () => {
    const [shown] = mergeMoments([decision(0, "shown")], []);
    check(shown, 3000, "$(check) sentence 0", "42 ms", "src/a.ts:5:3, 3 s ago");
  });
  it("draw no icon for code that looks like one", () => {
    const [line] = momentLines([{ ...skipped(0), sentence: 'It is only 50 % sure of "$(sync)".' }], 0, () => "");
    assert.equal(line.label, '$(circle-slash) It is only 50 % sure of "\\$(sync)".');
  });
  it("name no duration for what was not asked", () => {
    check(skipped(0), 0, "$(circle-slash) sentence 0", "", "src/a.ts:1:1, 0 s ago");
  });
  it("give minutes and hours", () => {
    check(skipped(0), 120_000, "$(circle-slash) sentence 0", "", "src/a.ts:1:1, 2 min ago");
    check(skipped(0), 7_200_000, "$(circle-slash) sentence 0", "", "src/a.ts:1:1, 2 h ago");
  });
  it("are never in the future when the clocks differ", () => {
    check(skipped(500), 0, "$(circle-slash) sentence 500", "", "src/a.ts:1:1, 0 s ago");
  });
});
