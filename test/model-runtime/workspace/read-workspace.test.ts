import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  readWorkspace,
  summarySentence,
  type WorkspaceSummary,
  type WorkspaceText,
} from "../../../model-runtime/workspace/read-workspace";

describe("readWorkspace", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "blt-workspace-"));
    mkdirSync(join(root, "src"));
    for (const name of ["a", "b", "c"]) writeFileSync(join(root, `src/${name}.ts`), `export const ${name} = 1;\n`);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  async function read(options = {}, onText: (text: WorkspaceText) => void = () => undefined) {
    const texts: WorkspaceText[] = [];
    const reading = readWorkspace(root, { maxBytes: 1e6, ...options });
    for (;;) {
      const step = await reading.next();
      if (step.done) return { paths: texts.map(({ path }) => path).sort(), summary: step.value as WorkspaceSummary };
      texts.push(step.value);
      onText(step.value);
    }
  }

  it("reads each text once", async () => {
    writeFileSync(join(root, "copy.ts"), "export const a = 1;\n");
    const { paths, summary } = await read();
    assert.equal(paths.length, 3);
    assert.deepEqual([summary.files, summary.bytes, summary.twins.length, summary.leftOut], [3, 60, 1, 0]);
    assert.deepEqual([summary.twins[0].path, summary.twins[0].of].sort(), ["copy.ts", "src/a.ts"]);
  });

  it("ends at the number of bytes, and says so", async () => {
    const { summary } = await read({ maxBytes: 45 });
    assert.deepEqual([summary.files, summary.bytes, summary.leftOut], [2, 40, 1]);
    assert.equal(summarySentence(summary), "2 files with 0 kB of text; 1 less relevant file did not fit.");
  });

  it("passes over what vanishes or is renamed after it was listed", async () => {
    const { paths, summary } = await read({ near: ["src/a.ts"] }, () => {
      rmSync(join(root, "src"), { recursive: true, force: true });
    });
    assert.equal(paths.length, 1);
    assert.deepEqual(
      summary.passedOver.map(({ reason }) => reason),
      ["vanished", "vanished"],
    );
  });

  it("reads a file as it is when it grew after it was listed, unless it no longer fits", async () => {
    let grown = "";
    const { summary } = await read({ maxBytes: 100 }, ({ path }) => {
      if (grown !== "") return;
      grown = ["src/a.ts", "src/b.ts", "src/c.ts"].find((other) => other !== path)!;
      appendFileSync(join(root, grown), "x".repeat(200));
    });
    assert.deepEqual([summary.files, summary.leftOut], [2, 1]);
  });

  it("follows a folder under its new name", async () => {
    renameSync(join(root, "src"), join(root, "lib"));
    assert.deepEqual((await read()).paths, ["lib/a.ts", "lib/b.ts", "lib/c.ts"]);
  });

  it("names the folder with more files than are looked at", () => {
    const summary = { files: 1234, bytes: 5_600_000, passedOver: [], twins: [], leftOut: 3, isCut: true };
    assert.match(
      summarySentence(summary),
      /^1,234 files with 5\.6 MB of text; the folder has more files .*\.bltignore/,
    );
  });
});
