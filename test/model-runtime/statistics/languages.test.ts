import assert from "node:assert/strict";
import { languageOf } from "../../../model-runtime/statistics/languages";

describe("languageOf", () => {
  it("knows languages by extension or name, in any case and under any folder", () => {
    const names = [
      "a/b.ts",
      "C:\\x\\Y.TSX",
      "Makefile",
      "src/Dockerfile",
      "x.h",
      ".gitignore",
      "LICENSE",
      "a.b/c",
      "x.zzz",
    ];
    assert.deepEqual(names.map(languageOf), [
      ...["TypeScript", "TypeScript", "Makefile", "Dockerfile", "C", "Other", "Other", "Other", "Other"],
    ]);
  });
});
