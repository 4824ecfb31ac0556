import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Power } from "../../server/power";

describe("whether the machine runs on its battery", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "blt-power-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function supply(name: string, files: Record<string, string>): void {
    mkdirSync(join(folder, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), `${text}\n`);
  }
  const onLinux = () => new Power("linux", { folder }).ask();

  it("is said by Linux's power supplies", async () => {
    assert.equal(await onLinux(), false);
    supply("hid-mouse", { type: "Battery", scope: "Device", status: "Discharging" });
    assert.equal(await onLinux(), false);
    supply("BAT0", { type: "Battery", status: "Discharging" });
    assert.equal(await onLinux(), true);
    supply("AC", { type: "Mains", online: "1" });
    assert.equal(await onLinux(), false);
  });

  it("is not said where there is nothing to look at", async () => {
    assert.equal(await new Power("linux", { folder: join(folder, "none") }).ask(), false);
    assert.equal(await new Power("win32").ask(), false);
    const missing = async () => Promise.reject(Object.assign(new Error("spawn pmset ENOENT"), { code: "ENOENT" }));
    assert.equal(await new Power("darwin", { command: missing }).ask(), false);
  });

  it("is said by macOS's pmset", async () => {
    const pmset = (source: string) => async () => ({ stdout: `Now drawing from '${source}'\n -InternalBattery-0 80%` });
    assert.equal(await new Power("darwin", { command: pmset("Battery Power") }).ask(), true);
    assert.equal(await new Power("darwin", { command: pmset("AC Power") }).ask(), false);
  });

  it("is asked again when the answer is old", async () => {
    let [now, asked] = [0, 0];
    const command = async () => ({ stdout: asked++ > 0 ? "'Battery Power'" : "'AC Power'" });
    const power = new Power("darwin", { now: () => now, command });
    const isOnBattery = async () => {
      void power.isOnBattery;
      await new Promise((resolve) => setImmediate(resolve));
      return power.isOnBattery;
    };
    assert.equal(await isOnBattery(), false);
    now = 30_000;
    assert.equal(await isOnBattery(), false);
    now = 70_000;
    assert.equal(await isOnBattery(), true);
    assert.equal(asked, 2);
  });
});
