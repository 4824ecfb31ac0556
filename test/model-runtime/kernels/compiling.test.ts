/** `kernels.mjs`, in a folder that looks like the repository. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const repository = join(__dirname, "../../..");
const host = `${process.platform}-${process.arch}`;
const targets = ["linux-x64", "linux-arm64", "darwin-arm64", "win32-x64", "win32-arm64"];
const other = targets.find((target) => target !== host)!;

describe("compiling the native kernels", () => {
  let folder = "";
  let file = "";

  before(function () {
    if (!targets.includes(host)) this.skip();
  });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "blt-kernels-"));
    file = join(folder, `dist/kernels-${host}.node`);
    copyFileSync(join(repository, "kernels.mjs"), join(folder, "kernels.mjs"));
    for (const name of ["model-runtime", "node_modules"])
      symlinkSync(join(repository, name), join(folder, name), "junction");
    // What an older version of the sources gave.
    mkdirSync(join(folder, "dist"));
    writeFileSync(file, "");
    utimesSync(file, 0, 0);
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** Runs the script with a compiler, or with none on the machine, and gives its exit code and lines. */
  function compile(args: readonly string[], CC = "", PATH = folder) {
    const env = { ...process.env, Path: PATH, PATH, CC };
    const script = join(folder, "kernels.mjs");
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { env, encoding: "utf8" });
    assert.equal(stdout, "");
    return { status, lines: stderr.split("\n").slice(0, -1) };
  }

  function assertNothingLeft() {
    assert.deepEqual(readdirSync(join(folder, "dist")), []);
  }

  it("without a compiler says what to install, and that the kernels in WebAssembly are used", () => {
    const sentence = /^There is no C compiler .*\(install .*\): the kernels in WebAssembly are used\.$/;
    const built = compile([]);
    assert.match(built.lines.join("\n"), sentence);
    assert.equal(built.status, 0);
    assertNothingLeft();
    const required = compile(["--required"]);
    assert.match(required.lines.join("\n"), sentence);
    assert.equal(required.status, 2);
  });

  it("for another platform needs Zig, and no other compiler", () => {
    const { status, lines } = compile(["--target", other, "--required"], process.execPath);
    assert.match(
      lines.join("\n"),
      /^There is no Zig .*"pip install ziglang".*: the kernels in WebAssembly are used\.$/,
    );
    assert.equal(status, 2);
  });

  it("shows what a compiler says that fails, and leaves nothing behind", () => {
    // Node takes none of a compiler's options.
    for (const [args, code] of [[[], 0] as const, [["--required"], 1] as const]) {
      const { status, lines } = compile(args, process.execPath);
      assert.match(lines.join("\n"), /bad option: -O3/);
      assert.match(lines.at(-1)!, /^".*" could not compile .*: those in WebAssembly are used\.$/);
      assert.equal(status, code);
      assertNothingLeft();
    }
  });

  it("says that a compiler is not there which CC names", () => {
    const { status, lines } = compile(["--required"], "no-such-compiler -O2");
    assert.match(lines.join("\n"), /no-such-compiler ENOENT/);
    assert.match(lines.at(-1)!, /^"no-such-compiler -O2" could not compile /);
    assert.equal(status, 1);
    assertNothingLeft();
  });

  it("refuses a platform that there are no kernels for", () => {
    const { status, lines } = compile(["--target", "amiga-68000"]);
    assert.deepEqual(lines, [`There are no native kernels for "amiga-68000"; the targets are ${targets.join(", ")}.`]);
    assert.equal(status, 1);
  });

  it("makes a library that Node loads, once", function () {
    const { CC, PATH } = process.env;
    const { status, lines } = compile(["--required"], CC, PATH);
    if (status === 2) this.skip();
    assert.deepEqual(lines, []);
    assert.equal(status, 0);
    assert.deepEqual(readdirSync(join(folder, "dist")), [`kernels-${host}.node`]);
    // In a process of its own: Windows keeps a file that is loaded.
    const load = `console.log(typeof require(${JSON.stringify(file)}).variant)`;
    assert.equal(spawnSync(process.execPath, ["-e", load], { encoding: "utf8" }).stdout, "string\n");

    const { mtimeMs } = statSync(file);
    assert.deepEqual(compile([], process.execPath), { status: 0, lines: [] });
    assert.equal(statSync(file).mtimeMs, mtimeMs);
    // Newer than the library: compiled anew, here with what is no compiler.
    utimesSync(join(folder, "kernels.mjs"), new Date(), new Date(mtimeMs + 1000));
    assert.equal(compile(["--required"], process.execPath).status, 1);
    assert.equal(existsSync(file), false);
  });
});
