import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { CancellationTokenSource } from "vscode-languageserver/node";
import { Documents } from "../../server/documents";
import type { StatisticsProgress } from "../../server/overlay-protocol";
import type { Question } from "../../server/readings-protocol";
import { collectStatistics } from "../../server/statistics";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";

const uri = "file:///w/%C3%9F.ts";

describe("collectStatistics", () => {
  const path = useTemporaryFolder();

  /** A model that gives each byte two bits, and is taken back after `most` texts. */
  function setup(most = Number.POSITIVE_INFINITY) {
    const documents = new Documents();
    documents.didOpen({ textDocument: { uri, languageId: "x", version: 1, text: "ab\r\nc" } });
    const progress: StatisticsProgress[] = [];
    const source = new CancellationTokenSource();
    let asked = 0;
    const overlay = {
      async question(question: Question) {
        if (++asked > most) source.cancel();
        const { length } = question.kind === "measure" ? question.bytes : new Uint8Array();
        const values = new Float32Array(length).fill(2);
        const starts = Uint32Array.of(0);
        return { bits: values, entropies: values, entropyOf: "patcher" as const, starts, units: "patches" as const };
      },
    };
    const options = {
      documents,
      overlay,
      model: () => "m",
      progress: (each: StatisticsProgress) => void progress.push(each),
    };
    const collect = (params: { folder?: string; uri?: string }) =>
      collectStatistics({ ...params, token: "t" }, options, source.token);
    return { collect, progress, documents };
  }

  it("measures the files of a folder that hold text of the user's own, and says what it leaves out", async () => {
    mkdirSync(path("src"));
    writeFileSync(path("src/a.ts"), "let a = 1;\n");
    writeFileSync(path("b.py"), "x = 2\n");
    writeFileSync(path("c.png"), Uint8Array.of(1, 0));
    const { collect, progress } = setup();
    const result = await collect({ folder: path() });
    assert.ok("statistics" in result);
    assert.deepEqual(result.statistics.files.map((file) => [file.path, file.bytes, file.bits]).sort(), [
      ["b.py", 6, 12],
      ["src/a.ts", 11, 22],
    ]);
    assert.deepEqual(result.skipped, [{ path: "c.png", reason: "binary" }]);
    assert.deepEqual([result.isPartial, result.model], [false, "m"]);
    assert.deepEqual(
      progress.map(({ files, ofFiles }) => [files, ofFiles]),
      [
        [1, 2],
        [2, 2],
      ],
    );
    assert.deepEqual(progress.at(-1)?.bytes, 17);
  });

  it("measures an open document as the model sees it", async () => {
    const result = await setup().collect({ uri });
    assert.ok("statistics" in result);
    assert.deepEqual(
      result.statistics.files.map((file) => [file.path, file.bytes]),
      [["ß.ts", 4]],
    );
  });

  it("gives what it has when it is ended early", async () => {
    writeFileSync(path("a.ts"), "let a = 1;\n");
    writeFileSync(path("b.ts"), "let b = 2;\n");
    const result = await setup(1).collect({ folder: path() });
    assert.ok("statistics" in result);
    assert.deepEqual([result.isPartial, result.statistics.files.length], [true, 1]);
  });

  it("says why there is nothing to measure", async () => {
    const { collect, documents } = setup();
    const problem = async (params: { folder?: string; uri?: string }) => {
      const result = await collect(params);
      return "problem" in result ? result.problem : "";
    };
    assert.match(await problem({ folder: path() }), /no text of your own/);
    assert.match(await problem({ folder: path("gone") }), /^There is no folder .*gone any more/);
    assert.match(await problem({ uri: "file:///none" }), /not open/);
    for (const [text, pattern] of [
      ["", /empty/],
      ["a\0", /binary/],
    ] as const) {
      documents.didOpen({ textDocument: { uri, languageId: "x", version: 1, text } });
      assert.match(await problem({ uri }), pattern);
    }
  });
});
