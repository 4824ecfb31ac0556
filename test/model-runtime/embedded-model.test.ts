import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EmbeddedModelOptions, embeddedModel } from "../../model-runtime/embedded-model";

/** The folder found in a program that has these models, each with its config.json, below its root. */
function check(
  models: Record<string, string>,
  programFolder: string,
  expected: string | null,
  options: EmbeddedModelOptions = {},
): void {
  const root = mkdtempSync(join(tmpdir(), "blt-embedded-"));
  try {
    for (const [name, config] of Object.entries(models)) {
      mkdirSync(join(root, "models", name), { recursive: true });
      writeFileSync(join(root, "models", name, "config.json"), config);
    }
    const found = embeddedModel(join(root, programFolder), options);
    assert.equal(found, expected === null ? null : join(root, "models", expected));
  } finally {
    rmSync(root, { recursive: true });
  }
}

describe("embedded model", () => {
  it("is found beside the bundle", () => check({ tiny: "{}" }, "dist", "tiny"));
  it("is found from the sources", () => check({ tiny: "{}" }, "model-runtime/cli", "tiny"));
  it("is the default one before the tiny one", () => check({ tiny: "{}", default: "{}" }, "dist", "default"));
  it("is the tiny one where the default one is no plain BLT and a plain one is wanted", () =>
    check({ tiny: "{}", default: '{"lexicon_config": {}}' }, "dist", "tiny", { plain: true }));
  it("may have a file that makes no sense, which is found out when it is opened", () =>
    check({ default: "{" }, "dist", "default"));
  it("may be missing", () => check({}, "dist", null));
});
