import assert from "node:assert/strict";
import type { WorkspaceFile } from "../../../model-runtime/workspace/list-files";
import { selectFiles } from "../../../model-runtime/workspace/select-files";

describe("selectFiles", () => {
  const file = (path: string, bytes = 10, modified = 0): WorkspaceFile => ({ path, bytes, modified });
  const paths = ({ files }: { files: WorkspaceFile[] }) => files.map(({ path }) => path);

  it("puts the languages and folders first that the user works on", () => {
    const files = [
      file("docs/a.md"),
      file("lib/far.py"),
      file("src/ui/near.ts"),
      file("src/ui/style.css"),
      file("x.ts"),
    ];
    const chosen = selectFiles(files, { maxBytes: 1000, near: ["src/ui/open.ts"] });
    assert.deepEqual(paths(chosen), ["src/ui/near.ts", "x.ts", "src/ui/style.css", "docs/a.md", "lib/far.py"]);
  });

  it("without an open file puts the commonest language and the newest files first", () => {
    const files = [file("a.py", 10, 5), file("b.py", 10, 9), file("c.md", 10, 7)];
    assert.deepEqual(paths(selectFiles(files, { maxBytes: 1000 })), ["b.py", "c.md", "a.py"]);
  });

  it("takes a workspace of two gigabytes in part, and counts what is left out", () => {
    const files = Array.from({ length: 2000 }, (_, i) => file(`f${i}.ts`, 1_000_000, i));
    const { files: chosen, bytes, leftOut } = selectFiles(files, { maxBytes: 8_000_000 });
    assert.deepEqual([chosen.length, bytes, leftOut], [8, 8_000_000, 1992]);
    assert.equal(chosen[0].path, "f1999.ts");
  });

  it("fills the rest with smaller files", () => {
    const files = [file("a.ts", 60, 3), file("b.ts", 60, 2), file("c.ts", 30, 1)];
    assert.deepEqual(paths(selectFiles(files, { maxBytes: 100 })), ["a.ts", "c.ts"]);
  });
});
