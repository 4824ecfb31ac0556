import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../model-runtime/errors";
import { resolveModel } from "../../server/model-path";

function check(modelPath: string, expected: string, workspaceFolder: string | null = "/work space"): void {
  const options = { workspaceFolder, programFolder: "/nowhere/dist" };
  assert.deepEqual(resolveModel(modelPath, options), { folder: expected, adapter: null });
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
  describe("that is empty, or names an adapter,", () => {
    let root: string;
    beforeEach(() => {
      root = mkdtempSync(join(tmpdir(), "blt-model-path-"));
    });
    afterEach(() => rmSync(root, { recursive: true }));
    const resolved = (modelPath: string) =>
      resolveModel(modelPath, { workspaceFolder: root, programFolder: join(root, "dist") });
    const write = (folder: string, name: string) => {
      mkdirSync(join(root, folder), { recursive: true });
      writeFileSync(join(root, folder, name), "{}");
    };

    it("is the embedded model, the default before the tiny one", () => {
      for (const name of ["tiny", "default"]) {
        write(`models/${name}`, "config.json");
        assert.deepEqual(resolved(""), { folder: join(root, "models", name), adapter: null });
      }
    });
    it("with the adapter", () => {
      write("models/tiny", "config.json");
      write("shared", "adapter_config.json");
      assert.deepEqual(resolved("shared"), { folder: join(root, "models/tiny"), adapter: join(root, "shared") });
    });
  });
});
