import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { FromWorkspace, Quote } from "../../server/workspace-protocol";
import { WorkspaceTexts } from "../../server/workspace-texts";

describe("WorkspaceTexts", () => {
  let root: string;
  let texts: WorkspaceTexts;
  let sent: FromWorkspace[];
  /** Called once, between two slices of work. */
  let onPause: (() => void) | null;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "blt-texts-"));
    sent = [];
    onPause = null;
    texts = new WorkspaceTexts({
      send: (message) => sent.push(message),
      async whenIdle() {
        onPause?.();
        onPause = null;
      },
    });
  });
  afterEach(async () => {
    await texts.close();
    rmSync(root, { recursive: true, force: true });
  });

  const at = (path: string) => join(root, path);

  function write(files: Record<string, string>): void {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(at(path)), { recursive: true });
      writeFileSync(at(path), text);
    }
  }

  async function count(files: Record<string, string>, filesExclude = {}): Promise<void> {
    write(files);
    texts.handle({ type: "workspace", isOn: true, folders: [root], filesExclude, near: [] });
    await texts.settled();
  }

  async function change(...paths: string[]): Promise<void> {
    texts.handle({ type: "filesChanged", paths: paths.map(at) });
    await texts.settled();
  }

  async function open(path: string, text: string | null): Promise<void> {
    texts.handle({ type: "workspaceText", path: at(path), text });
    await texts.settled();
  }

  function quoteOf(text: string): Quote | null {
    texts.handle({ type: "quote", id: 1, text });
    return (sent.at(-1) as Extract<FromWorkspace, { type: "quoted" }>).quote;
  }

  const counted = () => texts.index.paths.map((path) => path.replace(root, "").replaceAll("\\", "/")).sort();
  const textOf = (path: string) => Buffer.from(texts.index.read(at(path)) ?? []).toString();

  it("counts the folders, and says what was found", async () => {
    await count(
      { "a.ts": "let a;\r\n", "src/b.ts": "\uFEFFlet b;\n", ".env": "KEY=1", "old/c.ts": "x" },
      { "**/old": true },
    );
    assert.deepEqual(counted(), ["/a.ts", "/src/b.ts"]);
    assert.deepEqual([textOf("a.ts"), textOf("src/b.ts")], ["let a;\n", "let b;\n"]);
    const { files, bytes, sentence, notice } = sent[0] as Extract<FromWorkspace, { type: "counted" }>;
    assert.deepEqual([files, bytes, notice], [2, 18, null]);
    assert.match(sentence, /^Counted blt-texts-.*: 2 files with 0 kB of text\.$/);
  });

  it("follows the disk: files changed, made, removed; folders renamed and removed", async () => {
    await count({ "a.ts": "one", "lib/b.ts": "two", "lib/c.ts": "three" });
    write({ "a.ts": "changed", "new.ts": "made" });
    await change("a.ts", "new.ts");
    assert.deepEqual([textOf("a.ts"), textOf("new.ts")], ["changed", "made"]);
    rmSync(at("a.ts"));
    await change("a.ts");
    assert.deepEqual(counted(), ["/lib/b.ts", "/lib/c.ts", "/new.ts"]);
    renameSync(at("lib"), at("moved"));
    await change("lib");
    assert.deepEqual(counted(), ["/new.ts"]);
    // A folder that appears is read with all the others.
    texts.handle({ type: "workspace", isOn: true, folders: [root], filesExclude: {}, near: [] });
    await texts.settled();
    assert.deepEqual(counted(), ["/moved/b.ts", "/moved/c.ts", "/new.ts"]);
  });

  it("obeys the rules for what changes, too", async () => {
    await count({ ".gitignore": "*.tmp.ts\n", "a.ts": "one" });
    write({ "b.tmp.ts": "ignored", ".env": "KEY=secret", "node_modules/x/i.js": "x" });
    await change("b.tmp.ts", ".env", "node_modules/x/i.js");
    assert.deepEqual(counted(), ["/.gitignore", "/a.ts"]);
    await open(".env", "KEY=secret");
    await open("b.tmp.ts", "ignored");
    await open("key.ts", `const key = "-----BEGIN ${"PRIVATE"} KEY-----";`);
    assert.deepEqual(counted(), ["/.gitignore", "/a.ts"]);
  });

  it("takes an open document as it stands in the editor, until it is closed", async () => {
    await count({ "a.ts": "saved" });
    await open("a.ts", "typed, not saved");
    await open("unsaved.ts", "no file yet");
    assert.deepEqual([textOf("a.ts"), textOf("unsaved.ts")], ["typed, not saved", "no file yet"]);
    write({ "a.ts": "saved by another program" });
    await change("a.ts");
    assert.equal(textOf("a.ts"), "typed, not saved");
    await open("a.ts", null);
    await open("unsaved.ts", null);
    assert.equal(textOf("a.ts"), "saved by another program");
    assert.deepEqual(counted(), ["/a.ts"]);
  });

  it("cuts the document at hand at the context, and puts it back when another is at hand", async () => {
    await count({ "a.ts": "whole text of a", "b.ts": "whole text of b" });
    texts.cut({ path: at("a.ts"), before: "first part", after: "last part", afterLine: 3 });
    assert.deepEqual(counted(), ["/a.ts\0after", "/a.ts\0before", "/b.ts"]);
    texts.cut({ path: at("a.ts"), before: "first part, longer", after: "  \n", afterLine: 3 });
    assert.deepEqual(counted(), ["/a.ts\0before", "/b.ts"]);
    texts.cut({ path: at("b.ts"), before: "", after: "", afterLine: 0 });
    await open("a.ts", "whole text of a, edited");
    assert.deepEqual(counted(), ["/a.ts"]);
    assert.equal(textOf("a.ts"), "whole text of a, edited");
    await open("b.ts", null);
    assert.deepEqual(counted(), ["/a.ts", "/b.ts"]);
  });

  it("names file and line of a text that stands there", async () => {
    await count({ "src/a.ts": "// one\n// two\nexport const answer = compute(42);\n", "b.ts": "x" });
    assert.deepEqual(quoteOf("const answer = compute(42);"), { path: "src/a.ts", line: 3 });
    assert.equal(quoteOf("const answer = compute(43);"), null);
    texts.cut({ path: at("b.ts"), before: "", after: "function behindTheCursor() {}\n", afterLine: 12 });
    assert.deepEqual(quoteOf("function behindTheCursor()"), { path: "b.ts", line: 13 });
  });

  it("reads everything again after very many changes, and looks at none in folders that are never entered", async () => {
    await count({ "a.ts": "one" });
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`src/f${i}.ts`, `let x${i};`]));
    const installed = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`node_modules/m${i}/i.js`, `x${i}`]));
    write({ ...many, ...installed });
    await change(...Object.keys(installed));
    assert.deepEqual(counted(), ["/a.ts"]);
    const counts = () => sent.filter(({ type }) => type === "counted").length;
    await change(...Object.keys(many));
    while (counts() < 2) {
      await new Promise((resolve) => setImmediate(resolve));
      await texts.settled();
    }
    assert.equal(counted().length, 301);
  });

  it("counts equal files once, and the other one when the counted one is changed, removed or at hand", async () => {
    const same = "export const shared = 1;\n";
    await count({ "a.ts": same, "b.ts": same, "c.ts": same });
    const whose = () => counted().filter((path) => textOf(path.slice(1)) === same);
    const [first] = whose();
    assert.deepEqual(whose(), [first]);
    write({ [first.slice(1)]: "changed\n" });
    await change(first.slice(1));
    const [second] = whose();
    assert.ok(second !== first && whose().length === 1);
    assert.deepEqual(counted(), [first, second].sort());
    rmSync(at(second.slice(1)));
    await change(second.slice(1));
    const [third] = whose();
    assert.deepEqual(counted(), [first, third].sort());
    // A copy that is made later waits; the document at hand leaves its text to it.
    write({ "d.ts": same });
    await change("d.ts");
    assert.deepEqual(whose(), [third]);
    texts.cut({ path: at(third.slice(1)), before: "export", after: "", afterLine: 1 });
    assert.deepEqual(whose(), ["/d.ts"]);
  });

  it("takes the most relevant of two gigabytes, and says so", async () => {
    write({ "src/a.ts": "let a;\n", "src/b.ts": "let b;\n" });
    mkdirSync(at("far"));
    // Files with holes: they have the size, the disk does not.
    for (let i = 0; i < 2100; i++) {
      writeFileSync(at(`far/f${i}.go`), "package far\n");
      truncateSync(at(`far/f${i}.go`), 1_000_000);
    }
    const near = [at("src/a.ts")];
    texts.handle({ type: "workspace", isOn: true, folders: [root], filesExclude: {}, near });
    await texts.settled();
    assert.deepEqual(counted(), ["/src/a.ts", "/src/b.ts"]);
    const { notice } = sent[0] as Extract<FromWorkspace, { type: "counted" }>;
    assert.match(notice!, /: 2 files with 0 kB of text; 2,093 less relevant files did not fit\.$/);
  });

  it("passes over what is no text and takes ten megabytes of one byte in its stride", async () => {
    await count({ "a.ts": "let a;\n", "data.ts": "\0\u0001\u0002", "same.txt": "a".repeat(10_000_000) });
    assert.deepEqual(counted(), ["/a.ts"]);
    await open("typed.txt", "a".repeat(900_000));
    assert.deepEqual(counted(), ["/a.ts"]);
  });

  it("forgets a folder of the workspace that is removed or renamed while it is counted", async () => {
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`in/f${i}.ts`, `let x${i};\n`.repeat(1000)]));
    write(many);
    texts.handle({ type: "workspace", isOn: true, folders: [at("in")], filesExclude: {}, near: [] });
    onPause = () => {
      renameSync(at("in"), at("out"));
      texts.handle({ type: "filesChanged", paths: Object.keys(many).map(at) });
    };
    await texts.settled();
    assert.deepEqual(counted(), []);
  });

  it("says what the other documents make of a place in one", async () => {
    const text = "export const speedOfLight = metresPerSecond(299792458);\n";
    await count({ "a.ts": text.repeat(3), "b.ts": text.repeat(4) });
    const next = (path: string) => {
      const found: number[][] = [];
      const [before, bytes] = [Buffer.from("export const speed"), Buffer.from("Of")];
      texts.expect(at(path), { before, bytes, logits: new Float32Array(3 * 260) }, (row) => found.push([...row]));
      assert.equal(found.length, 3);
      return found[2]["L".charCodeAt(0)];
    };
    assert.ok(next("c.ts") > Math.log(0.5));
    rmSync(at("b.ts"));
    await change("b.ts");
    // Its own text is no evidence, and is still there afterwards.
    assert.ok(next("a.ts") < Math.log(0.1));
    assert.equal(textOf("a.ts"), text.repeat(3));
  });

  it("counts nothing when it is switched off, and what is open is still known", async () => {
    await count({ "a.ts": "one", "b.ts": "two" });
    await open("b.ts", "edited");
    texts.handle({ type: "workspace", isOn: false, folders: [root], filesExclude: {}, near: [] });
    await texts.settled();
    assert.deepEqual(counted(), ["/b.ts"]);
  });

  it("begins anew when the folders change while they are read", async () => {
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`f${i}.ts`, `let x${i};\n`.repeat(1000)]));
    write({ ...many, "only/this.ts": "let y;" });
    texts.handle({ type: "workspace", isOn: true, folders: [root], filesExclude: {}, near: [] });
    onPause = () => texts.handle({ type: "workspace", isOn: true, folders: [at("only")], filesExclude: {}, near: [] });
    await texts.settled();
    assert.deepEqual(counted(), ["/only/this.ts"]);
    assert.equal(sent.length, 1);
  });

  it("says so when a folder is not there, and when not everything fits", async () => {
    texts.handle({ type: "workspace", isOn: true, folders: [at("none")], filesExclude: {}, near: [] });
    await texts.settled();
    assert.match((sent[0] as { sentence: string }).sentence, /none: 0 files/);
    const big = "let name = value;\n".repeat(50_000);
    await count(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`f${i}.ts`, `${i}\n${big}`])));
    const { files, notice } = sent[1] as Extract<FromWorkspace, { type: "counted" }>;
    assert.equal(files, 8);
    assert.match(notice!, /^Not all of the workspace is counted: .* 2 less relevant files did not fit\.$/);
  });
});
