import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../model-runtime/errors";
import { resolveModelPath } from "../../server/model-path";

function check(modelPath: string, expected: string, workspaceFolder: string | null = "/work space"): void {
  assert.equal(resolveModelPath(modelPath, { workspaceFolder, programFolder: "/nowhere/dist" }), expected);
}

describe("model path", () => {
  it("may be absolute", () => check("/models/blt", "/models/blt"));
  it("may begin at home", () => {
    check("~/blt", join(homedir(), "blt"));
    check("~", homedir());
  });
  it("may begin at the workspace", () => check("models/blt", join("/work space", "models/blt")));
  it("that begins at the workspace needs one", () =>
    assert.throws(
      () => check("models/blt", "", null),
      new UserError(
        "The setting blt.modelPath is models/blt, but no folder is open that it could start from; give the whole path.",
      ),
    ));
  it("that is empty needs an embedded model", () =>
    assert.throws(() => check(" ", ""), /^UserError: No model comes with this program; .* blt\.modelPath/));
  it("that is empty is the embedded model, the default before the tiny one", () => {
    const root = mkdtempSync(join(tmpdir(), "blt-model-path-"));
    try {
      const embedded = () => resolveModelPath("", { workspaceFolder: null, programFolder: join(root, "dist") });
      for (const name of ["tiny", "default"]) {
        mkdirSync(join(root, "models", name), { recursive: true });
        writeFileSync(join(root, "models", name, "config.json"), "{}");
        assert.equal(embedded(), join(root, "models", name));
      }
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
