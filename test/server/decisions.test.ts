import assert from "node:assert/strict";
import { Decisions } from "../../server/decisions";
import type { Decision } from "../../server/protocol";

function decision(line: number, uri = "file:///a"): Decision {
  return { uri, line, character: 0, time: 0, ms: 0, reason: "shown", sentence: "" };
}

function check(added: Decision[], uri: string | undefined, lines: number[]): void {
  const decisions = new Decisions();
  for (const one of added) decisions.add(one);
  assert.deepEqual(
    decisions.list(uri).map(({ line }) => line),
    lines,
  );
}

describe("decisions", () => {
  it("are listed newest first", () => check([decision(1), decision(2)], undefined, [2, 1]));
  it("are listed by document", () => check([decision(1), decision(2, "file:///b"), decision(3)], "file:///a", [3, 1]));
  it("are kept for the last fifty", () => {
    const lines = Array.from({ length: 60 }, (_, index) => index);
    check(
      lines.map((line) => decision(line)),
      undefined,
      lines.slice(10).reverse(),
    );
  });
});
