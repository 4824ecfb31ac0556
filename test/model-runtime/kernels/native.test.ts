import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { nativeKernels, nativeKernelsFile, nativeKernelsProblem } from "../../../model-runtime/kernels/native";
import { useTemporaryFolder } from "../checkpoint/fixture";

const name = `kernels-${process.platform}-${process.arch}.node`;

describe("nativeKernels", () => {
  it("are there, or it is said why not", () => {
    const problem = nativeKernelsProblem();
    assert.equal(nativeKernels() === null, problem !== null);
    if (problem !== null) assert.match(problem, /\w+ \w+ \w+/);
  });

  describe("of this platform", () => {
    before(function () {
      if (nativeKernels() === null) this.skip();
    });

    it("are a file for it", () => {
      const file = nativeKernelsFile()!;
      assert.equal(basename(file), name);
      assert.ok(existsSync(file));
    });

    it("are one of those that there are, the fastest that the processor can run", () => {
      const { variant, use } = nativeKernels()!;
      const known = process.arch === "arm64" ? ["dotprod"] : ["avx512vnni", "avxvnni", "avx512", "avx2"];
      assert.ok(known.includes(variant), variant);
      // Which ones there are, until there is none.
      const names = known.map((_, place) => use(place));
      assert.deepEqual([use(known.length), use(-1)], [undefined, undefined]);
      assert.equal(use(0), variant);
      assert.deepEqual(
        names.filter((each) => each !== undefined),
        known.filter((each) => names.includes(each)),
      );
      // What all such processors can.
      assert.ok(names.includes(known.at(-1)!));
    });
  });
});

describe("nativeKernelsProblem", () => {
  const path = useTemporaryFolder();
  /** Where the sources are: deep enough for all folders that they look into. */
  const sources = ["repository", "model-runtime", "kernels"];

  /** What a process says that has such a file in a folder, which is loaded by `load` where that is given. */
  function problemWith(content: string | null, load?: string, folder = sources) {
    mkdirSync(path(...sources), { recursive: true });
    // What tells a repository from another folder.
    writeFileSync(path("repository", "kernels.mjs"), "");
    for (const source of ["native.ts", "native-jobs.ts"])
      copyFileSync(resolve("model-runtime/kernels", source), path(...sources, source));
    if (content !== null) {
      mkdirSync(path(...folder), { recursive: true });
      writeFileSync(path(...folder, name), content);
    }
    const script = `
${load === undefined ? "" : `require("node:module")._extensions[".node"] = (module) => { module.exports = ${load}; };`}
const { nativeKernels, nativeKernelsProblem } = require(${JSON.stringify(path(...sources, "native.ts"))});
console.log(JSON.stringify({ problem: nativeKernelsProblem(), isNull: nativeKernels() === null }));`;
    const { stdout, stderr } = spawnSync(process.execPath, ["-r", "tsx/cjs", "-e", script], { encoding: "utf8" });
    assert.notEqual(stdout, "", stderr);
    return JSON.parse(stdout) as { problem: string | null; isNull: boolean };
  }

  const kernels = (variant: string, lead: string) =>
    `{ variant: "${variant}", memoryOf: (bytes) => bytes, lead: (bytes, kind, values) => { ${lead} } }`;

  it("is that there is no file", () => {
    assert.deepEqual(problemWith(null), { problem: `there is no ${name}`, isNull: true });
  });

  it("is why the file cannot be loaded", () => {
    const { problem, isNull } = problemWith("nothing of the kind");
    assert.ok(isNull);
    assert.ok(problem!.includes(name), problem!);
  });

  it("is that the processor has no instructions for it", () => {
    const { problem, isNull } = problemWith("", kernels("", ""));
    assert.deepEqual([problem, isNull], ["the processor has none of the instructions that they use", true]);
  });

  it("is that it computes wrongly", () => {
    const { problem, isNull } = problemWith("", kernels("avx2", ""));
    assert.deepEqual([problem, isNull], ["they computed a norm wrongly", true]);
  });

  for (const folder of [sources, ["repository", "dist"]])
    it(`is none where there is one that computes a norm, in ${folder.join("/")}`, () => {
      // By places of its arguments: x, weight, out and width.
      const norm = `
const [x, , weight, out, , width] = new Int32Array(bytes.buffer, values);
const floats = new Float32Array(bytes.buffer);
const square = floats.slice(x / 4, x / 4 + width).reduce((sum, value) => sum + value * value, 0);
for (let i = 0; i < width; i++)
  floats[out / 4 + i] = (floats[x / 4 + i] / Math.sqrt(square / width)) * floats[weight / 4 + i];`;
      assert.deepEqual(problemWith("", kernels("avx2", norm), folder), { problem: null, isNull: false });
    });
});
