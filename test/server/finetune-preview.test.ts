import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { foldersOf, preview } from "../../server/finetune-preview";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";

describe("preview of fine-tuning", () => {
  const path = useTemporaryFolder();
  const write = (name: string, bytes: number) => {
    mkdirSync(dirname(path(name)), { recursive: true });
    writeFileSync(path(name), `// ${name}\n${"let a = b;\n".repeat(bytes / 11)}`);
  };

  it("counts what would be learned from, by folder", async () => {
    write("w/src/a.ts", 9000);
    write("w/src/b.ts", 5000);
    write("w/test/c.ts", 6000);
    write("w/main.ts", 3000);
    write("w/node_modules/x/index.js", 9000);
    writeFileSync(path("w/.env"), "KEY=1\n");
    const found = await preview({ folder: path("w"), filesExclude: {} }, "test/golden/lexicon/blocks", 100);
    assert.deepEqual([found.files, found.rest.files, found.model], [4, 1, "blocks"]);
    assert.deepEqual(
      found.folders.map(({ path: folder, files }) => [folder, files]),
      [
        ["w/src", 2],
        ["w/test", 1],
      ].map(([folder, files]) => [String(folder).slice(2), files]),
    );
    assert.equal(found.bytes, found.rest.bytes + found.folders.reduce((sum, { bytes }) => sum + bytes, 0));
    assert.equal(found.bytesPerMinute, 6000);
    assert.ok(found.memoryBytes > 1e8);
    assert.ok(found.passedOver.length > 0);
  });

  it("refuses too little", async () => {
    write("w/a.ts", 100);
    await assert.rejects(
      preview({ folder: path("w"), filesExclude: {} }, "test/golden/lexicon/blocks", null),
      /only \d+ bytes of text in 1 file to learn from/,
    );
  });

  it("refuses a folder that is gone", async () => {
    await assert.rejects(
      preview({ folder: path("gone"), filesExclude: {} }, "test/golden/lexicon/blocks", null),
      /^UserError: There is no folder .*gone; open or name the one to learn from\.$/,
    );
  });

  it("shows a folder that holds nearly all by those in it", () => {
    const texts = ["src/a/x.ts", "src/b/x.ts", "src/c/d/x.ts", "test/x.ts"].map((name) => ({ path: name, bytes: 100 }));
    assert.deepEqual(
      foldersOf(texts).map(({ path: folder }) => folder),
      ["src/a", "src/b", "src/c", "test"],
    );
    assert.deepEqual(foldersOf([{ path: "x.ts", bytes: 5 }]), []);
    assert.deepEqual(foldersOf([{ path: "src/x.ts", bytes: 5 }]), [{ path: "src", files: 1, bytes: 5 }]);
  });
});
