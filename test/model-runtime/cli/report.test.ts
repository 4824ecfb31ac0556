import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { goldenDirectory } from "../../helpers/golden";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { useCli } from "./cli";

const model = goldenDirectory("k2");

describe("blt report", () => {
  const cli = useCli();
  const path = useTemporaryFolder();

  beforeEach(() => {
    mkdirSync(path("all/b"), { recursive: true });
    writeFileSync(path("all/a b.ts"), "let a = 1;\n".repeat(30));
    writeFileSync(path("all/b/c.py"), "x = 'ß'\n");
    writeFileSync(path("all/b/d.bin"), Uint8Array.of(1, 0, 2));
  });

  it("writes one page that needs nothing else, and says so", async () => {
    const { stdout, code } = await cli.run(["report", "all", "--model", model, "--out", "page.html"], { cwd: path() });
    assert.equal(code, 0);
    assert.match(stdout, /^page\.html: 2 files, \d+\.\d{4} bits per byte over 339 bytes\n$/);
    const page = readFileSync(path("page.html"), "utf8");
    assert.match(page, /^<!DOCTYPE html>/);
    assert.match(page, /default-src 'none'/);
    assert.doesNotMatch(page, /(src|href)="(https?:)?\/\//);
    assert.match(page, /<a href="all\/a%20b\.ts">/);
    assert.match(page, /d\.bin \(binary\)/);
    assert.match(page, /<script>[^<]*aria-sort/);
    assert.deepEqual(readdirSync(path()).sort(), ["all", "page.html"]);
  });

  it("gives the same figures as blt eval", async () => {
    const args = [path("all/a b.ts"), path("all/b/c.py"), "--model", model];
    const report = await cli.json(["report", ...args, "--out", path("page.html")]);
    const evaluated = await cli.json(["eval", ...args]);
    assert.deepEqual(Object.keys(report), ["out", "files", "entropy", "lengths", "lines", "languages", "skipped"]);
    report.files.forEach(({ bits, bytes }: { bits: number; bytes: number }, i: number) => {
      assert.equal(bytes, evaluated.files[i].bytes);
      assert.ok(Math.abs(bits - evaluated.files[i].bits) < 1e-3 * bits);
    });
    const sum = (counts: number[]) => counts.reduce((total, each) => total + each);
    assert.equal(sum(report.entropy.counts), evaluated.bytes);
    assert.equal(sum(report.lengths.counts), report.files[0].patches + report.files[1].patches);
    assert.deepEqual(
      report.languages.map(({ language }: { language: string }) => language),
      ["TypeScript", "Python"],
    );
  });

  it("refuses what it cannot read or write, and leaves an older page as it was", async () => {
    writeFileSync(path("old.html"), "old");
    await cli.refused(["report", path("none"), "--model", model], /There is no file .*none/);
    await cli.refused(["report", path("all/b/d.bin"), "--model", path("all"), "--out", path("old.html")], /config/);
    assert.equal(readFileSync(path("old.html"), "utf8"), "old");
    assert.equal(existsSync(path("old.html.part")), false);
    const nowhere = ["report", path("all/a b.ts"), "--model", model, "--out", path("no/page.html")];
    await cli.refused(nowhere, /no\/page\.html cannot be written \(there is no such folder\)/);
    await cli.refused([...nowhere.slice(0, -1), path("all")], /all cannot be written \(it is a folder\)/);
    await cli.refused(["report", "--model", model], /"blt report" needs PATH/);
    // A socket, as no test should put the system's devices at risk.
    const server = createServer().listen(path("socket"));
    await once(server, "listening");
    await cli.refused([...nowhere.slice(0, -1), path("socket")], /socket is no file; give --out another name/);
    server.close();
  });
});
