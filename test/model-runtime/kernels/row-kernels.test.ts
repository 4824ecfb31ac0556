import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";

const file = resolve("model-runtime/kernels/row-kernels.ts");

describe("RowMemory", () => {
  const withoutVectors = ["sse3", "ssse3", "sse4-1", "avx"].map((name) => `--no-enable-${name}`);
  for (const [title, flags, isThere] of [
    ["is there", [], true],
    ["is none in an engine without WebAssembly", ["--jitless"], false],
    ["is none where the processor has no vectors of WebAssembly's", withoutVectors, false],
  ] as const)
    it(title, function () {
      // Other processors all have them.
      if (flags === withoutVectors && process.arch !== "x64") this.skip();
      const script = `console.log(require(${JSON.stringify(file)}).RowMemory.create() !== null)`;
      const { stdout, stderr } = spawnSync(process.execPath, [...flags, "-r", "tsx/cjs", "-e", script], {
        encoding: "utf8",
      });
      assert.equal(stdout.trim(), String(isThere), stderr);
    });
});
