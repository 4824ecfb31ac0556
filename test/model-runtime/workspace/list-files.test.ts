import assert from "node:assert/strict";
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { errorReason, listFiles, passReasonOf, readWorkspaceFile } from "../../../model-runtime/workspace/list-files";

describe("listFiles", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "blt-workspace-"));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function write(files: Record<string, string | Uint8Array>): void {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
  }

  async function listed(options = {}): Promise<string[]> {
    return (await listFiles(root, options)).files.map(({ path }) => path);
  }

  async function reasons(): Promise<Record<string, string>> {
    const { passedOver } = await listFiles(root);
    return Object.fromEntries(passedOver.map(({ path, reason }) => [path, reason]));
  }

  it("passes over what the user did not write, and says why", async () => {
    write({
      "src/a.ts": "a",
      "src/b.py": "b",
      ".env": "KEY=1",
      ".env.example": "KEY=",
      "package-lock.json": "{}",
      "node_modules/x/index.js": "x",
      "vendor/y.go": "y",
      "dist/out.js": "o",
      "app.min.js": "m",
      "logo.png": "p",
      "api_pb2.py": "g",
      "rows.csv": "1,2",
      "empty.ts": "",
      ".git/HEAD": "ref",
      "build-cache/CACHEDIR.TAG": "Signature",
      "build-cache/x.ts": "x",
      "env/pyvenv.cfg": "home",
      "env/lib.py": "x",
    });
    assert.deepEqual(await listed(), [".env.example", "src/a.ts", "src/b.py"]);
    assert.deepEqual(await reasons(), {
      ".env": "secret",
      ".git": "ignored",
      "api_pb2.py": "generated",
      "app.min.js": "minified",
      "build-cache": "generated",
      dist: "generated",
      "empty.ts": "empty",
      env: "generated",
      "logo.png": "binary",
      node_modules: "vendored",
      "package-lock.json": "lock file",
      "rows.csv": "generated",
      vendor: "vendored",
    });
  });

  it("obeys .gitignore at every level, deeper rules first, and .bltignore after it", async () => {
    write({
      ".gitignore": "*.log.ts\n/made/\n!keep.log.ts\n",
      ".bltignore": "notes/\n!/made/\n",
      "a.log.ts": "1",
      "keep.log.ts": "2",
      "made/api.ts": "3",
      "notes/n.md": "4",
      "src/.gitignore": "!a.log.ts\nlocal.ts\n",
      "src/a.log.ts": "5",
      "src/local.ts": "6",
      "src/deep/local.ts": "7",
      "other/local.ts": "8",
    });
    const rulesFiles = [".bltignore", ".gitignore", "src/.gitignore"];
    const expected = ["keep.log.ts", "made/api.ts", "src/a.log.ts", "other/local.ts"];
    assert.deepEqual((await listed()).sort(), [...rulesFiles, ...expected].sort());
  });

  it("obeys the rules of the repository that the folder is a part of", async () => {
    write({
      ".git/info/exclude": "private.ts\n",
      ".gitignore": "part/skip.ts\n",
      "part/skip.ts": "1",
      "part/private.ts": "2",
      "part/in/take.ts": "3",
    });
    const { files } = await listFiles(join(root, "part"));
    assert.deepEqual(
      files.map(({ path }) => path),
      ["in/take.ts"],
    );
  });

  it("obeys files.exclude, also where it depends on a file beside", async () => {
    write({ "a.ts": "1", "a.js": "2", "b.js": "3", "deep/hidden/c.ts": "4", "d.ts": "5" });
    const filesExclude = { "**/hidden": true, "**/*.js": { when: "$(basename).ts" }, "d.ts": false };
    assert.deepEqual(await listed({ filesExclude }), ["a.ts", "b.js", "d.ts"]);
  });

  it("enters no link, so that a loop of them ends", async () => {
    write({ "a/b/file.ts": "1" });
    symlinkSync(root, join(root, "a/b/loop"), "junction");
    symlinkSync(join(root, "a/b/file.ts"), join(root, "twin.ts"));
    assert.deepEqual(await listed(), ["a/b/file.ts"]);
    assert.deepEqual(await reasons(), { "a/b/loop": "link", "twin.ts": "link" });
  });

  it("names what the file system refuses, and hides no defect", () => {
    const refused = (code: string) => errorReason(Object.assign(new Error(code), { code }));
    assert.deepEqual(["EACCES", "EPERM", "ENOENT", "ENOTDIR", "EIO"].map(refused), [
      "no permission",
      "no permission",
      "vanished",
      "vanished",
      "unreadable",
    ]);
    assert.throws(() => errorReason(new TypeError("defect")), /defect/);
  });

  it("goes on where it may not read", async function () {
    if (process.geteuid === undefined) this.skip(); // No such permissions on this system.
    write({ "closed/a.ts": "1", "secret.ts": "2", "open.ts": "3" });
    chmodSync(root, 0o755);
    chmodSync(join(root, "closed"), 0);
    chmodSync(join(root, "secret.ts"), 0);
    // Nothing is refused to root, so it reads as somebody else.
    const isRoot = process.geteuid() === 0;
    if (isRoot) process.seteuid!("nobody");
    try {
      assert.deepEqual(await listed(), ["open.ts", "secret.ts"]);
      assert.equal((await reasons()).closed, "no permission");
      assert.deepEqual(await readWorkspaceFile(root, "secret.ts"), { reason: "no permission" });
    } finally {
      if (isRoot) process.seteuid!(0);
      chmodSync(join(root, "closed"), 0o700);
    }
  });

  it("reads a file again that is written while it is read, and gives up one that never rests", async () => {
    write({ "a.ts": "let a = 1;\n" });
    const path = join(root, "a.ts");
    const real = fs.open;
    let writes = 0;
    const readWhileWritten = async (times: number) => {
      writes = 0;
      fs.open = async (...args) => {
        const handle = await real(...args);
        const read = handle.readFile.bind(handle);
        handle.readFile = (async () => {
          if (writes++ < times) appendFileSync(path, `let b${writes};\n`);
          return read();
        }) as typeof handle.readFile;
        return handle;
      };
      try {
        return await readWorkspaceFile(root, "a.ts");
      } finally {
        fs.open = real;
      }
    };
    const once = await readWhileWritten(1);
    assert.ok("bytes" in once && Buffer.from(once.bytes).toString() === "let a = 1;\nlet b1;\n");
    assert.equal(writes, 2);
    assert.deepEqual(await readWhileWritten(100), { reason: "changing" });
    assert.equal(writes, 3);
  });

  it("gives nothing for a folder that is not there", async () => {
    rmSync(root, { recursive: true });
    assert.deepEqual(await listFiles(root), {
      files: [],
      passedOver: [{ path: ".", reason: "vanished" }],
      isCut: false,
    });
  });

  it("ends at the most files, and says so", async () => {
    write(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i}.ts`, "x"])));
    const { files, isCut } = await listFiles(root, { maxFiles: 12 });
    assert.deepEqual([files.length, isCut], [12, true]);
  });

  it("can be stopped", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(listFiles(root, { signal }), /enough/);
  });

  it("says of one path what the listing would", async () => {
    write({ ".gitignore": "*.tmp.ts\n", "src/a.ts": "1", "src/a.tmp.ts": "2", "node_modules/m/x.ts": "3" });
    assert.equal(await passReasonOf(root, "src/a.ts"), null);
    assert.equal(await passReasonOf(root, "src/a.tmp.ts"), "ignored");
    assert.equal(await passReasonOf(root, "node_modules/m/x.ts"), "vendored");
    assert.equal(await passReasonOf(root, "src/none.ts"), "vanished");
    assert.equal(await passReasonOf(root, "src/a.ts", { filesExclude: { src: true } }), "ignored");
  });

  it("reads what was listed, and decides by its content", async () => {
    write({
      "a.ts": "let a = 1;\n",
      "bin.ts": Uint8Array.of(1, 0, 2),
      "latin.ts": Uint8Array.of(0x61, 0xe9, 0x62),
      "wide.js": `x=${"1,".repeat(4000)}`,
      "made.go": "// Code generated by protoc. DO NOT EDIT.\npackage a\n",
      "key.ts": `const k = "-----BEGIN RSA ${"PRIVATE"} KEY-----";`,
    });
    const of = async (path: string) => {
      const read = await readWorkspaceFile(root, path);
      return "reason" in read ? read.reason : Buffer.from(read.bytes).toString();
    };
    assert.equal(await of("a.ts"), "let a = 1;\n");
    assert.equal(await of("bin.ts"), "binary");
    assert.equal(await of("latin.ts"), "not UTF-8");
    assert.equal(await of("wide.js"), "minified");
    assert.equal(await of("made.go"), "generated");
    assert.equal(await of("key.ts"), "secret");
    assert.equal(await of("none.ts"), "vanished");
    assert.equal(await of("."), "unreadable");
  });
});
