/**
 * A person's view: the package installed in a real VS Code in a real browser. What the model says is not foreseen;
 * what is drawn must be what is accepted.
 * Environment: VSIX, the package; SHOTS, a folder for screenshots (default .cache/e2e/shots).
 */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Page } from "playwright-core";
import { downloadableModels } from "../../client/model-download/catalogue";
import { answers, HubServer } from "../client/model-download/hub-server";
import { cursorToEnd, focusEditor, ghostText, openFile, quickPickLabels, runCommand, statusItem } from "./editor";
import {
  type CodeServer,
  installVsix,
  makeSandbox,
  type Sandbox,
  serverProcesses,
  sleep,
  startBrowser,
  startCodeServer,
  until,
  type View,
  workbenchUrl,
  writeWorkspaceSettings,
} from "./workbench";

const shots = resolve(process.env.SHOTS ?? ".cache/e2e/shots");
/** All that the model says is shown, so that a small model says enough. */
const settings = { "blt.minConfidence": 0 };
/** Of the status item: suggestions are made, whether the model is loaded now or by the next key. */
const on = /Ready|loads when you type/;
const program = `import math

class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2

`;
const script = `function first(values) {
  return values[0];
}

function second(values) {
  return values[1];
}

`;
const files = {
  "shapes.py": program,
  "lists.js": script,
  "windows.js": script.replaceAll("\n", "\r\n"),
  "unicode.py": `# 𝒳 naïve 日本語 👩‍👩‍👧\n${program}`,
  "notes.md": "# Notes\n",
};

describe("a person in VS Code", function () {
  this.timeout(600_000);
  this.bail(true);

  let sandbox: Sandbox;
  let server: CodeServer;
  let view: View;
  let page: Page;
  /** In place of Hugging Face: its model is the small one of this repository. */
  let hub: HubServer;

  before(async () => {
    rmSync(shots, { recursive: true, force: true });
    mkdirSync(shots, { recursive: true });
    sandbox = makeSandbox(files, { "security.workspace.trust.enabled": false, ...settings });
    cpSync("models/tiny", join(sandbox.root, "other"), { recursive: true });
    installVsix(sandbox, resolve(process.env.VSIX ?? ""));
    const tiny = (name: string) => readFileSync(join("models/tiny", name));
    hub = await HubServer.start({
      "facebook/blt-1b": { "config.json": tiny("config.json"), "model.safetensors": tiny("model.safetensors") },
      "facebook/blt-entropy": { "config.json": Buffer.from("{}"), "model.safetensors": Buffer.from("not needed") },
    });
    server = await startCodeServer(sandbox, {
      arguments: ["--disable-workspace-trust"],
      environment: { HF_ENDPOINT: hub.endpoint },
    });
    view = await startBrowser();
    page = view.page;
    const path = join(sandbox.workspace, "shapes.py");
    await page.goto(workbenchUrl(server, sandbox.workspace, [["openFile", server.remoteUri(path)]]));
    await page.locator('.tab.active[data-resource-name="shapes.py"]').waitFor({ timeout: 300_000 });
  });

  after(async () => {
    await view?.browser.close();
    await server?.stop();
    await hub?.stop();
    sandbox?.remove();
  });

  afterEach(async function () {
    if (this.currentTest?.state !== "failed" || page === undefined) return;
    await shot("failure");
    writeFileSync(join(shots, "failure-console.log"), [...view.console, server.log()].join("\n"));
  });

  const shot = (name: string) => page.screenshot({ path: join(shots, `${name}.png`) });

  async function type(text: string): Promise<void> {
    await page.keyboard.type(text, { delay: 30 });
  }

  /** Types, then waits for ghost text that stays. */
  async function typeForGhost(text: string): Promise<string> {
    await type(text);
    return settledGhost();
  }

  async function settledGhost(): Promise<string> {
    return until("ghost text that stays", async () => {
      const text = await ghostText(page);
      if (text === "") return null;
      await sleep(400);
      return (await ghostText(page)) === text ? text : null;
    });
  }

  /** Types code at the end of the file, sees ghost text, and takes the typing back: below itself the model would repeat it. */
  async function expectSuggestions(): Promise<void> {
    await focusEditor(page);
    await page.keyboard.press("Control+End");
    await typeForGhost("\n\nvalues = [value for value in val");
    await page.keyboard.press("Escape");
    await runCommand(page, "File: Revert File");
    await focusEditor(page);
  }

  /** Saves, and waits until the file is as expected. */
  async function expectFile(name: string, expected: string): Promise<void> {
    await page.keyboard.press("Control+S");
    const read = () => readFileSync(join(sandbox.workspace, name), "utf8");
    await until(`${name} is saved`, () => read() === expected || null, 5_000).catch(() => {
      assert.equal(read(), expected);
    });
  }

  const statusMatches = (label: RegExp, ms?: number) =>
    until(
      `status ${label}`,
      async () => label.test((await statusItem(page).getAttribute("aria-label")) ?? "") || null,
      ms,
    );

  let text = program;

  it("sees the model get ready without doing anything", async () => {
    await statusItem(page).waitFor();
    await statusMatches(on);
  });

  it("types, sees ghost text and takes it with Tab", async () => {
    await cursorToEnd(page, 10, 1);
    const ghost = await typeForGhost("class Square:\n    def __init__(self, si");
    await shot("1-ghost-text");
    await page.keyboard.press("Tab");
    text += `class Square:\n    def __init__(self, si${ghost}`;
    await expectFile("shapes.py", text);
    await statusMatches(/Ready.*took \d+ ms/);
    await shot("2-accepted");
  });

  it("takes one word with Ctrl+Right, and the rest with Tab", async () => {
    await page.keyboard.press("Escape");
    const ghost = await typeForGhost("\n        self.");
    await page.keyboard.press("Control+ArrowRight");
    const rest = await until("less ghost text", async () => {
      const now = await ghostText(page);
      return now !== ghost && now;
    });
    assert.ok(ghost.endsWith(rest), `${JSON.stringify(rest)} is the rest of ${JSON.stringify(ghost)}`);
    text += `\n        self.${ghost}`;
    if (rest !== "") await page.keyboard.press("Tab");
    await expectFile("shapes.py", text);
  });

  it("dismisses it with Esc", async () => {
    const ghost = await typeForGhost("\n\n    def ar");
    assert.notEqual(ghost, "");
    await page.keyboard.press("Escape");
    await until("no ghost text", async () => (await ghostText(page)) === "" || null);
    text += "\n\n    def ar";
    await expectFile("shapes.py", text);
  });

  it("types through it", async () => {
    const ghost = await typeForGhost("e");
    text += "e";
    assert.ok(ghost.length > 1);
    await type(ghost[0]);
    const rest = await settledGhost();
    assert.ok(
      rest.startsWith(ghost.slice(1)) || ghost.slice(1).startsWith(rest),
      `${JSON.stringify(rest)} goes on from ${JSON.stringify(ghost)}`,
    );
    await page.keyboard.press("Escape");
    text += ghost[0];
    await expectFile("shapes.py", text);
  });

  it("takes it back with undo", async () => {
    const ghost = await typeForGhost("(self):\n        return ");
    await page.keyboard.press("Tab");
    text += "(self):\n        return ";
    await expectFile("shapes.py", text + ghost);
    await page.keyboard.press("Control+Z");
    await expectFile("shapes.py", text);
    await sleep(500);
    assert.equal(await ghostText(page), "", "nothing is suggested right after undo");
  });

  it("works in a second file at the same time", async () => {
    await openFile(page, "lists.js");
    await cursorToEnd(page, 9, 1);
    const ghost = await typeForGhost("function third(values) {\n  return ");
    await page.keyboard.press("Tab");
    await expectFile("lists.js", `${script}function third(values) {\n  return ${ghost}`);
    await openFile(page, "shapes.py");
    await page.keyboard.press("Control+End");
    assert.notEqual(await typeForGhost("self."), "");
    await page.keyboard.press("Escape");
    text += "self.";
    await expectFile("shapes.py", text);
  });

  it("keeps the line ends of a file with CRLF", async () => {
    await openFile(page, "windows.js");
    await cursorToEnd(page, 9, 1);
    const ghost = await typeForGhost("function third(values) {\n  return ");
    await page.keyboard.press("Tab");
    const expected = `${script}function third(values) {\n  return ${ghost}`;
    await expectFile("windows.js", expected.replaceAll("\n", "\r\n"));
  });

  it("works behind characters of every width", async () => {
    await openFile(page, "unicode.py");
    await cursorToEnd(page, 11, 1);
    await page.keyboard.insertText('face = "👩‍👩‍👧𝒳é"; ');
    const ghost = await typeForGhost("class Squ");
    await shot("3-unicode");
    await page.keyboard.press("Tab");
    await expectFile("unicode.py", `${files["unicode.py"]}face = "👩‍👩‍👧𝒳é"; class Squ${ghost}`);
  });

  it("gets several lines in an empty block when asking", async () => {
    await openFile(page, "lists.js");
    await page.keyboard.press("Control+End");
    await type("\n}\n\nfunction third(values) {\n  ");
    await page.keyboard.press("Escape");
    // Pressed at the moment when a suggestion goes away the keys mean nothing to the editor: a person presses them again.
    await until("ghost text after asking", async () => {
      await page.keyboard.press("Alt+Backslash");
      return until("ghost text", async () => (await ghostText(page)) !== "" || null, 5_000).catch(() => null);
    });
    const ghost = await settledGhost();
    await shot("4-asked");
    assert.notEqual(ghost, "");
    await page.keyboard.press("Escape");
  });

  it("is left alone after a deletion, and is told why", async () => {
    await page.keyboard.press("Control+Home");
    await page.keyboard.press("Shift+End");
    await page.keyboard.press("Delete");
    await sleep(800);
    assert.equal(await ghostText(page), "");
    await runCommand(page, "BLT: Show why nothing was suggested");
    const labels = await quickPickLabels(page, "The last requests");
    await shot("5-why");
    assert.match(labels[0], /deleted/);
    assert.ok(labels.some((label) => /suggest|shown/i.test(label)));
    await page.keyboard.press("Escape");
    await focusEditor(page);
    await page.keyboard.press("Control+Z");
  });

  it("opens the menu from the status bar and switches suggestions off and on", async () => {
    await statusItem(page).click();
    const labels = await quickPickLabels(page, "BLT Code");
    await shot("6-menu");
    assert.match(labels[0], /Turn suggestions off$/);
    await page.locator(".quick-input-list .monaco-list-row").first().click();
    await statusMatches(/Suggestions are off/);
    await focusEditor(page);
    await page.keyboard.press("Control+End");
    await type("const value");
    await sleep(1000);
    assert.equal(await ghostText(page), "");
    await shot("7-off");
    await runCommand(page, "BLT: Toggle");
    await statusMatches(on);
    await expectSuggestions();
  });

  it("changes a setting in the file, and it holds at once", async () => {
    writeWorkspaceSettings(sandbox, { "blt.languages": { "*": true, javascript: false } });
    await statusMatches(/off for javascript/);
    await type("; value");
    await sleep(1000);
    assert.equal(await ghostText(page), "");
    await openFile(page, "shapes.py");
    await statusMatches(on);
    writeWorkspaceSettings(sandbox, { "blt.delay": "soon" });
    await statusMatches(/blt\.delay must be a whole number/);
    await shot("8-wrong-setting");
    writeWorkspaceSettings(sandbox, {});
    await statusMatches(/^(?!.*blt\.delay)/);
  });

  it("is told when the model's folder is none, and how it goes on", async () => {
    writeWorkspaceSettings(sandbox, { "blt.modelPath": sandbox.workspace });
    await statusMatches(/config\.json/);
    await shot("9-no-model");
    writeWorkspaceSettings(sandbox, {});
    // What is typed before the editor has read its settings gets no suggestion, and no second request.
    await statusMatches(on);
    await expectSuggestions();
  });

  it("chooses a model, and is told when a folder holds none", async () => {
    await chooseFolder(sandbox.workspace);
    const message = page.locator(".notification-toast", { hasText: "is not the folder of a BLT checkpoint" });
    await message.waitFor();
    await shot("10-no-checkpoint");
    await message.getByRole("button", { name: "Choose another" }).click();
    await enterFolder(join(sandbox.root, "other"));
    await statusMatches(/Model: other/);
    await runCommand(page, "BLT: Select model…");
    const labels = await quickPickLabels(page, "Select model");
    await shot("11-select-model");
    assert.deepEqual(
      labels.map((label) => label.trim()),
      ["The model that comes with the extension", "other", "Choose a folder…", "Download BLT 1B…", "Download BLT 7B…"],
    );
    await page.locator(".quick-input-list .monaco-list-row").first().click();
    await statusMatches(/^(?!.*Model: other)/);
    await expectSuggestions();
  });

  it("downloads a model, once the licence is accepted and the token is one", async () => {
    const [{ licence }] = downloadableModels;
    await runCommand(page, "BLT: Select model…");
    await quickPickLabels(page, "Select model");
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "Download BLT 1B" }).click();
    const dialog = page.locator(".monaco-dialog-box", { hasText: licence.name });
    await dialog.waitFor();
    await shot("12-licence");
    await dialog.getByRole("button", { name: "I have accepted it" }).click();
    hub.faults.push(answers(401));
    await enterToken("hf_wrong");
    const message = page.locator(".notification-toast", { hasText: "does not accept the access token" });
    await message.waitFor();
    await shot("13-token");
    await message.getByRole("button", { name: "Enter another token" }).click();
    await enterToken("hf_right");
    await statusMatches(/Model: blt-1b/);
    assert.equal(hub.downloads.at(-1)!.authorization, "Bearer hf_right");
    await runCommand(page, "BLT: Select model…");
    const labels = (await quickPickLabels(page, "Select model")).map((label) => label.trim());
    assert.deepEqual(labels.slice(1), ["blt-1b", "other", "Choose a folder…", "Download BLT 7B…"]);
    await page.locator(".quick-input-list .monaco-list-row").first().click();
    await statusMatches(/^(?!.*Model: blt-1b)/);
    await expectSuggestions();
  });

  async function enterToken(token: string): Promise<void> {
    await page.locator(".quick-input-widget .quick-input-title", { hasText: "Download facebook/blt-1b" }).waitFor();
    await page.locator(".quick-input-widget .quick-input-box input").fill(token);
    await page.keyboard.press("Enter");
  }

  async function chooseFolder(folder: string): Promise<void> {
    await runCommand(page, "BLT: Select model…");
    await quickPickLabels(page, "Select model");
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "Choose a folder" }).click();
    await enterFolder(folder);
  }

  /** VS Code's own dialog for a folder. */
  async function enterFolder(folder: string): Promise<void> {
    await page.locator(".quick-input-widget .quick-input-title", { hasText: "Folder of a BLT checkpoint" }).waitFor();
    const input = page.locator(".quick-input-widget .quick-input-box input");
    // The dialog writes its own path when it has listed a folder, which may be after ours, or before it in the same box.
    await until("the folder stays in the box", async () => {
      await input.fill(folder);
      await sleep(1000);
      return [folder, `${folder}/`].includes(await input.inputValue());
    });
    await page.locator(".quick-input-widget").getByRole("button", { name: "Use this model" }).click();
  }

  async function killServer(): Promise<number> {
    const [process_] = await until("a server process", () => {
      const processes = serverProcesses(sandbox.extensions);
      return processes.length > 0 && processes;
    });
    process.kill(process_, "SIGKILL");
    await until("the process is gone", () => !serverProcesses(sandbox.extensions).includes(process_) || null);
    return process_;
  }

  it("gets suggestions again after the server was killed", async () => {
    const killed = await killServer();
    await until("another server", () => serverProcesses(sandbox.extensions).some((id) => id !== killed) || null);
    await statusMatches(on);
    await expectSuggestions();
  });

  it("is told how to start the server when it was killed three times in a row", async () => {
    await killServer();
    await killServer();
    await statusMatches(/not started again/);
    const message = page.locator(".notification-toast", { hasText: "ended three times" });
    await message.waitFor();
    await shot("14-given-up");
    assert.equal(await page.locator(".notification-toast").count(), 1, "the user is told once");
    assert.deepEqual(serverProcesses(sandbox.extensions), []);
    await message.getByRole("button", { name: "Restart server" }).click();
    await statusMatches(on);
    await expectSuggestions();
  });

  it("restarts the server by the command", async () => {
    const before = serverProcesses(sandbox.extensions);
    await runCommand(page, "BLT: Restart server");
    await until("another server", () => serverProcesses(sandbox.extensions).some((id) => !before.includes(id)) || null);
    await statusMatches(on);
  });

  it("reads the walkthrough and the log", async () => {
    // Room for the pictures beside the steps.
    await runCommand(page, "View: Toggle Primary Side Bar Visibility");
    await runCommand(page, "Welcome: Open Walkthrough...");
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "BLT Code" }).first().click();
    await page.getByText("Ask for one").first().waitFor();
    const picture = () => page.frameLocator("iframe.webview.ready").last().frameLocator("iframe#active-frame");
    await picture().getByText("take it all").waitFor();
    await shot("15-walkthrough");
    await page.getByText("See why nothing was suggested").first().click();
    await picture().getByText("newest first").waitFor();
    await shot("16-walkthrough-why");
    await runCommand(page, "BLT: Show log");
    await page.locator(".panel .view-line", { hasText: "Model: " }).first().waitFor();
    await shot("17-log");
  });
});
