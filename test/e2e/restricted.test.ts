/** A folder that the user does not trust: suggestions work, and its own settings choose no files. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { cursorToEnd, ghostText, runCommand, statusItem } from "./editor";
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

describe("a person in a folder that is not trusted", function () {
  this.timeout(600_000);

  let sandbox: Sandbox;
  let server: CodeServer;
  let view: View;

  before(async () => {
    mkdirSync(shots, { recursive: true });
    sandbox = makeSandbox(
      { "shapes.py": "import math\n\n" },
      { "security.workspace.trust.startupPrompt": "never", "blt.minConfidence": 0 },
    );
    writeWorkspaceSettings(sandbox, { "blt.modelPath": join(sandbox.root, "nowhere") });
    installVsix(sandbox, resolve(process.env.VSIX ?? ""));
    server = await startCodeServer(sandbox);
    view = await startBrowser();
  });

  after(async () => {
    await view?.browser.close();
    await server?.stop();
    sandbox?.remove();
  });

  it("gets suggestions, from the model in the package", async () => {
    const { page } = view;
    const path = join(sandbox.workspace, "shapes.py");
    await page.goto(workbenchUrl(server, sandbox.workspace, [["openFile", server.remoteUri(path)]]));
    await page.locator('.tab.active[data-resource-name="shapes.py"]').waitFor({ timeout: 300_000 });
    await page.getByText("Restricted Mode").first().waitFor();
    await statusItem(page).waitFor();
    await cursorToEnd(page, 3, 1);
    await page.keyboard.type("class Square:\n    def __init__(self, si", { delay: 30 });
    await until("ghost text", async () => (await ghostText(page)) !== "" || null);
    await page.screenshot({ path: join(shots, "18-restricted.png") });
    const label = (await statusItem(page).getAttribute("aria-label")) ?? "";
    assert.doesNotMatch(label, /nowhere/);
  });

  it("has nothing learned from it", async () => {
    await runCommand(view.page, "BLT: Fine-tune on workspace");
    const sentence = "Nothing is learned from a folder in restricted mode; trust it first.";
    await view.page.locator(".notification-toast", { hasText: sentence }).waitFor();
  });
});
