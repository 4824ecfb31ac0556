import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { useCli } from "./cli/cli";

describe("onnxruntime's telemetry", () => {
  const cli = useCli();

  it("is off: a run leaves no number of the machine and no events in the user's folders", () => {
    const home = mkdtempSync(join(tmpdir(), "blt-home-"));
    try {
      // Nothing else of the environment: telemetry is off by itself where a CI is recognised.
      const env = { HOME: home, USERPROFILE: home, TMPDIR: home, TEMP: home, PATH: process.env.PATH };
      const program = join(cli.folder, "dist/cli.js");
      execFileSync(process.execPath, [program, "logits", "--model", "models/tiny", "--ids", "1,76"], { env });
      assert.deepEqual(readdirSync(home, { recursive: true }), []);
    } finally {
      rmSync(home, { recursive: true });
    }
  });
});
