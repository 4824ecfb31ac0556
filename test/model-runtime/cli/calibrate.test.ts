import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { goldenDirectory } from "../../helpers/golden";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { useCli } from "./cli";

const model = goldenDirectory("k2");

describe("blt calibrate", () => {
  const cli = useCli();
  const path = useTemporaryFolder();
  beforeEach(() => {
    writeFileSync(path("a.ts"), "export const answer = 42; // zweiundvierzig\n".repeat(8));
    writeFileSync(path("b.ts"), "function f(x: number): number {\n  return x + 1;\n}\n");
  });

  it("finds the threshold with which patches have the length", async () => {
    const args = ["calibrate", path(), "--patch-length", "5", "--model", model];
    const { threshold, meanPatchLength, ...rest } = await cli.json(args);
    assert.deepEqual(rest, { model, files: 2, bytes: 8 * 44 + 50 });
    assert.ok(Math.abs(meanPatchLength - 5) < 0.2);
    const evaluated = await cli.json(["eval", path(), "--model", model, "--threshold", `${threshold}`]);
    assert.ok(Math.abs(evaluated.meanPatchLength - meanPatchLength) < 1e-9);
    const { stdout } = await cli.run(args);
    assert.match(stdout, /^--threshold [\d.]+ gives [45]\.\d{3} bytes a patch over 402 bytes\n$/);
  });

  it("keeps the other settings", async () => {
    const rules = ["--monotonic", "--max-patch-length", "8", "--model", model];
    const { threshold, meanPatchLength } = await cli.json(["calibrate", path(), "--patch-length", "3", ...rules]);
    const evaluated = await cli.json(["eval", path(), `--threshold=${threshold}`, ...rules]);
    assert.ok(Math.abs(evaluated.meanPatchLength - meanPatchLength) < 1e-9);
  });

  it("refuses lengths that cannot be, and modes without a threshold", async () => {
    const files = [path(), "--model", model];
    await cli.refused(["calibrate", ...files], /give --patch-length BYTES/);
    await cli.refused(["calibrate", ...files, "--patch-length", "0"], /mean patch length of 0 bytes/);
    await cli.refused(["calibrate", ...files, "--patch-length", "9999"], /mean patch length of 9999 bytes/);
    await cli.refused(["calibrate", ...files, "--patch-length", "4", "--mode", "byte"], /"byte" has no threshold/);
  });
});
