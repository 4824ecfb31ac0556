/**
 * A person lets the model learn from their folder: preview, progress, the page, cancelling, a run to its verdict, adapters.
 * Environment: VSIX, the package; SHOTS, a folder for screenshots (default .cache/e2e/shots).
 */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { FrameLocator, Page } from "playwright-core";
import { writeWorkspace } from "../model-runtime/training/workspace-fixture";
import { quickPickLabels, runCommand } from "./editor";
import {
  type CodeServer,
  installVsix,
  makeSandbox,
  type Sandbox,
  startBrowser,
  startCodeServer,
  until,
  type View,
  workbenchUrl,
  writeWorkspaceSettings,
} from "./workbench";

const shots = resolve(process.env.SHOTS ?? ".cache/e2e/shots");
const tiny = resolve("models/tiny");

describe("fine-tuning in VS Code", function () {
  this.timeout(600_000);
  this.bail(true);

  let sandbox: Sandbox;
  let server: CodeServer;
  let view: View;
  let page: Page;

  const shot = (name: string) => page.screenshot({ path: join(shots, `${name}.png`) });
  const item = () => page.locator('.statusbar-item[id="blt-code.blt-code.blt.fineTuning"]');
  const frame = (): FrameLocator =>
    page.frameLocator("iframe.webview.ready").last().frameLocator("iframe#active-frame");
  const title = (text: RegExp) => page.locator(".quick-input-widget .quick-input-title").filter({ hasText: text });

  before(async () => {
    mkdirSync(shots, { recursive: true });
    sandbox = makeSandbox({}, { "security.workspace.trust.enabled": false });
    writeWorkspace(sandbox.workspace);
    writeWorkspaceSettings(sandbox, { "blt.modelPath": tiny });
    installVsix(sandbox, resolve(process.env.VSIX ?? ""));
    server = await startCodeServer(sandbox, { arguments: ["--disable-workspace-trust"] });
    view = await startBrowser();
    page = view.page;
    const path = join(sandbox.workspace, "part0/file0.ts");
    const address = workbenchUrl(server, sandbox.workspace, [["openFile", server.remoteUri(path)]]);
    await page.goto(address, { timeout: 300_000, waitUntil: "domcontentloaded" });
    await page.locator('.statusbar-item[id="blt-code.blt-code.blt.status"]').waitFor({ timeout: 300_000 });
  });

  after(async () => {
    await view?.browser.close();
    await server?.stop();
    sandbox?.remove();
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed" && page !== undefined) await shot("failure-fine-tuning");
  });

  /** Through the preview; a run of about so long. */
  async function start(time: string): Promise<void> {
    await runCommand(page, "BLT: Fine-tune on workspace");
    await title(/Fine-tune on workspace: \d+ files, .*\(1\/2\)/).waitFor();
    await shot("30-fine-tune-preview");
    await page.locator(".quick-input-widget .quick-input-action .monaco-button", { hasText: "OK" }).click();
    await title(/\(2\/2\)/).waitFor();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: time }).click();
  }

  it("previews what is learned, shows how it goes, and cancels at any time", async () => {
    await start("About 5 min");
    await item().waitFor();
    const notification = page.locator(".notification-toast", { hasText: "fine-tuning on this workspace" });
    await notification.waitFor();
    await item().click();
    await frame().getByRole("heading", { name: "Fine-tuning" }).waitFor();
    await frame().getByRole("button", { name: "Pause" }).click();
    await frame()
      .getByRole("status")
      .filter({ hasText: /^Paused\./ })
      .waitFor();
    await frame().getByRole("button", { name: "Go on" }).click();
    await frame().getByRole("button", { name: "Pause" }).waitFor();
    await frame().getByRole("button", { name: "Cancel" }).click();
    // Asked only where something was learned already.
    const discard = page.getByRole("button", { name: "Discard it" });
    await until("the run is gone", async () => {
      if (await discard.isVisible()) await discard.click();
      return (await item().count()) === 0 || null;
    });
    await frame().getByRole("status").filter({ hasText: "Nothing is being learned." }).waitFor();
  });

  it("draws the curve, and judges early when told to", async () => {
    await start("About 5 min");
    const button = frame().getByRole("button", { name: "Judge it now" });
    await button.waitFor({ timeout: 300_000 });
    await frame().locator("#plot canvas").waitFor();
    await shot("31-fine-tune-curve");
    await button.click();
    await frame()
      .getByRole("status")
      .filter({ hasText: /^Done; / })
      .waitFor({ timeout: 300_000 });
    await frame().getByRole("cell", { name: "General code" }).waitFor();
    await shot("32-fine-tune-verdict");
    assert.equal(await item().count(), 0);
  });

  it("lists the adapters, and the model without one", async () => {
    await runCommand(page, "BLT: Manage adapters");
    const labels = await quickPickLabels(page, "Adapters of this workspace");
    assert.match(labels[0], /The model without an adapter$/);
    assert.equal(labels.length, (await verdictIsUsed()) ? 2 : 1);
    await shot("33-adapters");
    await page.keyboard.press("Escape");
  });

  async function verdictIsUsed(): Promise<boolean> {
    return /suggestions use/.test((await frame().getByRole("status").textContent()) ?? "");
  }
});
