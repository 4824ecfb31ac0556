/**
 * What a person sees of patches and entropies with the model of the package: overlay, hover, explorer, exports and
 * statistics, in a real VS Code. What is drawn is compared with the model's own numbers, computed here.
 * Environment: VSIX, the package; SHOTS, a folder for screenshots (default .cache/e2e/shots).
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { FrameLocator, Page } from "playwright-core";
import { choose, focusEditor, openFile, runCommand } from "./editor";
import { type Boundaries, boundariesOf, type Truth, truthOf } from "./truth";
import {
  type CodeServer,
  installVsix,
  makeSandbox,
  type Sandbox,
  sleep,
  startBrowser,
  startCodeServer,
  until,
  type View,
  workbenchUrl,
  writeWorkspaceSettings,
} from "./workbench";

const shots = resolve(process.env.SHOTS ?? ".cache/e2e/shots");
const model = resolve("models/default");
const threshold: number = JSON.parse(readFileSync(join(model, "config.json"), "utf8")).patching_threshold;
const program = `// Kreise und Größen: 日本語 👩‍👩‍👧
import { readFileSync } from "node:fs";

export interface Shape {
  readonly name: string;
  area(): number;
}

export class Circle implements Shape {
  readonly name = "circle";

  constructor(private readonly radius: number) {}

  area(): number {
    return Math.PI * this.radius ** 2;
  }
}

export function readShapes(path: string): Shape[] {
  const lines = readFileSync(path, "utf8").split("\\n");
  return lines.filter(Boolean).map((line) => new Circle(Number(line)));
}
`;
const files = {
  "shapes.ts": program,
  "empty.txt": "",
  "zeros.txt": "a\0b\n",
  "large.txt": "0123456789abcdef\n".repeat(75_000),
  "long.txt": program.repeat(400),
};

describe("patches and entropies in VS Code", function () {
  this.timeout(300_000);

  let sandbox: Sandbox;
  let server: CodeServer;
  let view: View;
  let page: Page;
  let truth: Truth;

  const settings = {
    "editor.inlineSuggest.enabled": false,
    "workbench.editor.enablePreview": false,
    "workbench.colorTheme": "Default Dark Modern",
  };
  const shot = (name: string) => page.screenshot({ path: join(shots, `${name}.png`) });
  const overlayItem = () => page.locator('.statusbar-item[id="blt-code.blt-code.blt.overlay"]');
  const webview = (index: number): FrameLocator =>
    page.frameLocator("iframe.webview.ready").nth(index).frameLocator("iframe#active-frame");
  const explorer = () => webview(0);

  before(async () => {
    mkdirSync(shots, { recursive: true });
    truth = await truthOf(program, model);
    sandbox = makeSandbox(files, { "security.workspace.trust.enabled": false });
    writeWorkspaceSettings(sandbox, settings);
    installVsix(sandbox, resolve(process.env.VSIX ?? ""));
    server = await startCodeServer(sandbox, { arguments: ["--disable-workspace-trust"] });
    view = await startBrowser();
    page = view.page;
    await page.setViewportSize({ width: 1440, height: 900 });
    const path = join(sandbox.workspace, "shapes.ts");
    const address = workbenchUrl(server, sandbox.workspace, [["openFile", server.remoteUri(path)]]);
    await page.goto(address, { timeout: 180_000, waitUntil: "domcontentloaded" });
    await page.locator('.tab.active[data-resource-name="shapes.ts"]').waitFor({ timeout: 120_000 });
    await page.locator('.statusbar-item[id="blt-code.blt-code.blt.status"]').waitFor({ timeout: 120_000 });
    await focusEditor(page);
  });

  after(async () => {
    await view?.browser.close();
    await server?.stop();
    sandbox?.remove();
  });

  afterEach(async function () {
    if (this.currentTest?.state !== "failed" || page === undefined) return;
    await shot("overlay-failure");
    writeFileSync(join(shots, "overlay-failure-console.log"), [...view.console, server.log()].join("\n"));
  });

  /** Boundaries as drawn: before characters, at line ends, and characters inside which one lies. */
  function drawnBoundaries(): Promise<Boundaries> {
    return page.evaluate(() => {
      const found = { before: 0, atEnd: 0, inside: 0 };
      for (const span of document.querySelectorAll(".editor-instance .view-line span span")) {
        const style = getComputedStyle(span);
        // Neighbours that were drawn as one would be counted once.
        if (style.boxShadow !== "none") found.before++;
        if (style.textDecorationStyle === "dotted") found.inside += [...(span.textContent ?? "")].length;
        if (getComputedStyle(span, "::before").width === "1px") found.atEnd++;
      }
      return found;
    });
  }

  async function expectDrawn(text: string, { starts }: Truth): Promise<void> {
    const expected = JSON.stringify(boundariesOf(text, starts()));
    let drawn = "";
    await until(
      `boundaries ${expected}`,
      async () => (drawn = JSON.stringify(await drawnBoundaries())) === expected,
      60_000,
    ).catch((error) => {
      throw new Error(`${error.message} Drawn: ${drawn}.`);
    });
  }

  /** By its whole label. */
  async function chooseView(label: string): Promise<void> {
    await overlayItem().click();
    await page.locator(".quick-input-widget .quick-input-title", { hasText: "What the overlay shows" }).waitFor();
    const name = page.locator(".label-name").filter({ hasText: new RegExp(`^\\s*${label}\\s*$`) });
    await page.locator(".quick-input-list .monaco-list-row").filter({ has: name }).first().click();
    await overlayItem()
      .filter({ hasText: new RegExp(`${label}\\s*$`) })
      .waitFor();
  }

  it("draws each boundary where the model has it, inside characters too", async () => {
    await runCommand(page, "BLT: Toggle entropy overlay");
    await overlayItem().waitFor();
    await expectDrawn(program, truth);
    const { inside } = await drawnBoundaries();
    assert.ok(inside > 0, "the text has boundaries inside characters");
    await until("marks in the overview ruler", async () => (await rulerMarks()) > 0);
    await shot("overlay-dark-both");
    await chooseView("Patches");
    await expectDrawn(program, truth);
    await shot("overlay-dark-patches");
  });

  /** The overlay's colours behind the text as they are drawn, and how much colour that is: pixels in width by opacity. */
  function drawnColours(): Promise<{ marks: string; amount: number }> {
    return page.evaluate(() => {
      const marks: string[] = [];
      let amount = 0;
      for (const mark of document.querySelectorAll(".editor-instance .view-overlays .cdr[class*='ced-']")) {
        const { backgroundColor } = getComputedStyle(mark);
        const [, , , alpha = 1] = backgroundColor.match(/[\d.]+/g)!.map(Number);
        const { left, top, width } = mark.getBoundingClientRect();
        if (alpha === 0) continue;
        amount += alpha * width;
        marks.push(`${left} ${top} ${width} ${backgroundColor}`);
      }
      return { marks: marks.sort().join("\n"), amount };
    });
  }

  /** The colours once they are the same twice, a second apart. */
  async function settledColours(): Promise<{ marks: string; amount: number }> {
    let last = await drawnColours();
    await until("colours that stay", async () => {
      await sleep(1000);
      const before = last.marks;
      last = await drawnColours();
      return last.amount > 0 && last.marks === before;
    });
    return last;
  }

  it("shows the entropy with the counts of the other files, and then without them again", async () => {
    await chooseView("Entropy");
    const alone = await settledColours();
    await chooseView("Entropy with the workspace");
    // Another file has the same text many times: hardly anything is left to be unsure of.
    const isPale = async () => (await drawnColours()).amount < 0.7 * alone.amount;
    await until("paler colours with the workspace", isPale, 60_000);
    await shot("overlay-dark-mixed");
    await chooseView("Entropy");
    await until("the colours of the model alone", async () => (await drawnColours()).marks === alone.marks, 60_000);
    await chooseView("Patches");
    await expectDrawn(program, truth);
  });

  /** Pixels of the ruler in the colour of surprising places (the dark theme's). */
  function rulerMarks(): Promise<number> {
    return page.evaluate(() => {
      const canvas = document.querySelector<HTMLCanvasElement>(".editor-instance canvas.decorationsOverviewRuler");
      if (canvas === null || canvas.width === 0) return 0;
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let i = 0; i < data.length; i += 4)
        if (data[i] > 200 && data[i + 1] > 100 && data[i + 1] < 180 && data[i + 2] < 110) found++;
      return found;
    });
  }

  it("follows an edit, typed right after a view was chosen", async () => {
    await page.locator(".editor-instance .monaco-editor.focused").waitFor();
    await page.keyboard.press("Control+Home");
    await page.keyboard.type("let x;\n");
    const edited = `let x;\n${program}`;
    await expectDrawn(edited, await truthOf(edited, model));
    await until("the edit is undone", async () => {
      await page.keyboard.press("Control+Z");
      return (await page.locator(".view-line").first().innerText()).startsWith("//");
    });
    await expectDrawn(program, truth);
  });

  it("tells in a hover what the model expected, with its own numbers", async () => {
    const { x, y } = await placeOf("readonly");
    await page.mouse.move(x, y);
    const hover = page.locator(".monaco-hover:not(.hidden)", { hasText: "Likeliest" });
    await hover.waitFor({ timeout: 60_000 });
    await page.locator(".monaco-hover:not(.hidden)", { hasText: "would have written" }).waitFor({ timeout: 60_000 });
    const text = (await hover.first().innerText()).replaceAll("\u00a0", " ");
    const at = Buffer.byteLength(program.slice(0, program.indexOf("readonly")));
    assert.match(text, /Patch \d+ · \d+ bytes?/);
    assert.ok(text.includes(`${truth.entropies[at].toFixed(2)} nats`), text);
    assert.match(text, new RegExp(`H = .* nats is (not )?above the threshold ${threshold}\\.`));
    assert.match(text, /Likeliest: .+ % · .+ % · .+ % · .+ % · .+ %/);
    await shot("overlay-hover");
    await page.mouse.move(5, 600);
  });

  /** On the first character of a word on the screen, wherever patches cut it. */
  function placeOf(word: string): Promise<{ x: number; y: number }> {
    return page.evaluate((wanted) => {
      for (const line of document.querySelectorAll(".view-line")) {
        let at = line.textContent!.indexOf(wanted);
        if (at < 0) continue;
        const nodes = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
        for (let node = nodes.nextNode() as Text | null; node !== null; node = nodes.nextNode() as Text | null) {
          if (at >= node.length) {
            at -= node.length;
            continue;
          }
          const range = document.createRange();
          range.setStart(node, at);
          range.setEnd(node, at + 1);
          const { left, top, width, height } = range.getBoundingClientRect();
          return { x: left + width / 2, y: top + height / 2 };
        }
      }
      throw new Error(`${wanted} is not on the screen`);
    }, word);
  }

  it("shows the text side by side in the explorer, cut as by the model and the tokenizers", async () => {
    await runCommand(page, "BLT: Open patch explorer");
    const frame = explorer();
    await frame.locator('.pane[data-id="cl100k"] .row span').first().waitFor({ timeout: 60_000 });
    const count = async (id: string) =>
      Number((await frame.locator(`.pane[data-id="${id}"] .count strong`).first().innerText()).replace(",", ""));
    assert.equal(await count("entropy"), truth.starts().length);
    assert.ok((await count("cl100k")) > 100 && (await count("o200k")) > 100);
    await frame.locator("#choice input[value=byte]").check();
    assert.equal(await count("byte"), Buffer.byteLength(program));
    await frame.locator("#choice input[value=llama3]").check();
    await frame.locator('.pane[data-id="llama3"]', { hasText: "may not be passed on" }).waitFor();
    for (const id of ["byte", "llama3", "space"]) await frame.locator(`#choice input[value=${id}]`).uncheck();
    await shot("explorer-dark");
  });

  it("moves the patches with the threshold that is dragged, or moved by keys", async () => {
    const frame = explorer();
    const handle = frame.locator(".threshold");
    const value = async () => Number(await handle.getAttribute("aria-valuenow"));
    const before = await value();
    const body = frame.locator('.pane[data-id="entropy"] .body');
    await body.evaluate((element) => element.scrollTo(0, 19));
    const box = (await handle.boundingBox())!;
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x, y + 20, { steps: 4 });
    await page.mouse.move(x, y + 40, { steps: 4 });
    await page.mouse.up();
    const dragged = await value();
    assert.ok(dragged < before - 0.3, `${before} became ${dragged}`);
    await expectCount(dragged);
    assert.equal(await body.evaluate((element) => element.scrollTop), 19);
    await handle.press("ArrowUp");
    assert.ok(Math.abs((await value()) - dragged - 0.02) < 0.0015);
    await expectCount(await value());
    await shot("explorer-threshold");
    await frame.locator("#reset").click();
    await expectCount(before);

    /** Patches as for a threshold, which is shown with three digits. */
    async function expectCount(threshold: number): Promise<void> {
      const text = await frame.locator('.pane[data-id="entropy"] .count strong').first().innerText();
      const counts = [threshold + 0.0006, threshold - 0.0006].map((each) => truth.starts(each).length);
      assert.ok(
        Number(text) >= counts[0] && Number(text) <= counts[1],
        `${text} patches at ${threshold}, not ${counts}`,
      );
    }
  });

  it("adds the entropy with the counts of the other files where that is asked for", async () => {
    const frame = explorer();
    const about = frame.locator("#about");
    const box = frame.locator("#mixed");
    const legend = frame.locator(".u-legend", { hasText: "With the workspace" });
    const alone = await about.innerText();
    assert.ok(!alone.includes("with the workspace"), alone);
    await box.check();
    await about.filter({ hasText: /nats, \d\.\d+ with the workspace/ }).waitFor();
    await until("all of the text is read", async () => !(await about.innerText()).includes("reading"), 60_000);
    const [, entropy, mixed] = /entropy (\d\.\d+) nats, (\d\.\d+) with/.exec(await about.innerText())!.map(Number);
    assert.ok(mixed < 0.7 * entropy, `${entropy} nats alone, ${mixed} with the workspace`);
    await legend.waitFor();
    await shot("explorer-mixed");
    await box.uncheck();
    await until("the text about the model alone", async () => (await about.innerText()) === alone, 60_000);
    await legend.waitFor({ state: "detached" });
  });

  it("links the selection both ways", async () => {
    const frame = explorer();
    const segment = frame.locator('.pane[data-id="entropy"] .row span', { hasText: /\w\w/ }).first();
    const text = (await segment.innerText()).replaceAll("↵", "\n");
    await segment.click();
    await page.locator(".editor-instance .selected-text").first().waitFor();
    assert.match(await frame.locator("#live").innerText(), /^patch \d+ of \d+, .* Entropy before it \d/);
    await page.keyboard.press("Control+1");
    const selected = page.locator(".statusbar-item", { hasText: /\(\d+ selected\)/ });
    await selected.filter({ hasText: `(${text.length} selected)` }).waitFor();
    await page.keyboard.press("Control+Home");
    await page.keyboard.press("Shift+End");
    const firstLine = program.split("\n")[0].slice(0, 8);
    await until("the first line is selected in the page", async () => {
      const cells = await frame.locator('.pane[data-id="entropy"] .row .selected').allInnerTexts();
      return cells.join("").replaceAll("\u00a0", " ").startsWith(firstLine);
    });
    await page.keyboard.press("Control+Home");
  });

  /** Exports into the folder, under the name that is offered. */
  async function exported(format: string): Promise<Buffer> {
    const path = join(sandbox.workspace, `shapes.ts-patches.${format}`);
    const dialog = page.locator(".quick-input-widget", { hasText: "Export patches" });
    await explorer().locator(`[data-export=${format}]`).click();
    await until(`the dialog offers ${path}`, async () => (await dialog.locator("input").first().inputValue()) === path);
    await dialog.locator(".quick-input-action .monaco-button").first().click();
    await dialog.waitFor({ state: "hidden" });
    await until(`${path} is written`, () => existsSync(path) && readFileSync(path).length > 0);
    const file = readFileSync(path);
    rmSync(path);
    return file;
  }

  /** Width, height and number of colours of a picture, as a browser opens it. */
  async function opened(type: string, picture: Buffer): Promise<{ width: number; height: number; colours: number }> {
    const tab = await view.browser.newPage();
    await tab.setContent(`<img src="data:${type};base64,${picture.toString("base64")}">`);
    const found = await tab.evaluate(async () => {
      const image = document.querySelector("img")!;
      await image.decode();
      const { naturalWidth: width, naturalHeight: height } = image;
      const canvas = Object.assign(document.createElement("canvas"), { width, height });
      const context = canvas.getContext("2d")!;
      context.drawImage(image, 0, 0);
      const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
      return { width, height, colours: new Set(pixels).size };
    });
    await tab.close();
    return found;
  }

  it("exports tables and pictures that open", async () => {
    const [header, ...rows] = (await exported("csv")).toString().trim().split("\r\n");
    assert.equal(rows.length, Buffer.byteLength(program));
    const column = header.split(",").indexOf("entropy_start") - header.split(",").length;
    assert.equal(rows.filter((row) => row.split(",").at(column) === "1").length, truth.starts().length);
    const json = JSON.parse((await exported("json")).toString());
    assert.deepEqual([json.text, json.segmentations.entropy.starts], [program, truth.starts()]);
    const svg = await exported("svg");
    assert.match(svg.toString(), /^<svg xmlns.*Entropy patches.*readShapes.*<\/svg>$/s);
    const drawn = await opened("image/svg+xml", svg);
    const painted = await opened("image/png", await exported("png"));
    assert.deepEqual([painted.width, painted.height], [2 * drawn.width, 2 * drawn.height]);
    assert.ok(drawn.colours > 20 && painted.colours > 20, `${drawn.colours} and ${painted.colours} colours`);
  });

  for (const [name, theme, kind, colour] of [
    ["light", "Default Light Modern", "vs", "rgba(47, 127, 209, 0.25)"],
    ["high-contrast", "Default High Contrast", "hc-black", "#00439c"],
    ["high-contrast-light", "Default High Contrast Light", "hc-light", "#bcdcff"],
  ] as const)
    it(`has colours of its own in a ${name} theme, which has none for it`, async () => {
      writeWorkspaceSettings(sandbox, { ...settings, "workbench.colorTheme": theme });
      const workbench = page.locator(`.monaco-workbench.${kind}`).first();
      await workbench.waitFor();
      const used = () =>
        workbench.evaluate((element) => getComputedStyle(element).getPropertyValue("--vscode-blt-patch1Background"));
      await until(`the colour ${colour}`, async () => (await used()).trim() === colour);
      await chooseView("Patches and entropy");
      await expectDrawn(program, truth);
      await shot(`overlay-${name}-both`);
      await chooseView("Patches");
      await expectDrawn(program, truth);
      await shot(`overlay-${name}`);
    });

  it("says why there is nothing to show", async () => {
    for (const [file, inExplorer, inOverlay] of [
      ["empty.txt", /^The file is empty/, null],
      ["large.txt", /too large .* up to 1,200,000 characters/, /too large .* up to 1,200,000 characters/],
      ["zeros.txt", /^This is a binary file/, /This is a binary file/],
    ] as const) {
      await openAnyFile(file);
      await explorer().locator("#problem", { hasText: inExplorer }).waitFor();
      if (inOverlay !== null)
        await until(`the status bar says ${inOverlay}`, async () =>
          inOverlay.test((await overlayItem().getAttribute("aria-label")) ?? ""),
        );
    }
  });

  /** Also a file that the editor asks about first. */
  async function openAnyFile(name: string): Promise<void> {
    await choose(page, ["Control+1", "Control+P"], name, name);
    await page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
    const anyway = page.locator(".monaco-editor-pane-placeholder .monaco-button", { hasText: "Open Anyway" });
    const asText = page.locator(".quick-input-list .monaco-list-row", { hasText: "Text Editor" }).first();
    await until(`${name} is open`, async () => {
      if (await asText.isVisible()) await asText.click();
      else if (await anyway.isVisible()) await anyway.click();
      return page.locator(`.editor-instance .monaco-editor[data-uri$="${name}"]`).first().isVisible();
    });
  }

  it("shows a long text's beginning and names the limit, unless it is closed meanwhile", async () => {
    await openFile(page, "shapes.ts");
    await openAnyFile("long.txt");
    await runCommand(page, "View: Close Editor");
    await page.locator(`.tab[data-resource-name="long.txt"]`).waitFor({ state: "detached" });
    await page.locator(`.tab.active[data-resource-name="shapes.ts"]`).waitFor();
    const about = explorer().locator("#about");
    await about.filter({ hasText: "531 bytes" }).waitFor();
    await openAnyFile("long.txt");
    await about.filter({ hasText: "the limit is 200.0 kB" }).waitFor();
  });

  it("shows statistics of the file", async () => {
    await openFile(page, "shapes.ts");
    await runCommand(page, "BLT: Show statistics");
    await page.locator(".quick-input-widget .quick-input-title", { hasText: "BLT: Statistics" }).waitFor();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "This file" }).click();
    const tiles = webview(1).locator(".tiles dd");
    await until("the statistics", async () => (await tiles.count()) > 0 && Number(await tiles.first().innerText()) > 0);
    await shot("statistics");
  });

  it("is turned off", async () => {
    await page.locator(".tab", { hasText: "shapes.ts" }).first().click();
    await focusEditor(page);
    await runCommand(page, "BLT: Toggle entropy overlay");
    await overlayItem().waitFor({ state: "detached" });
    assert.deepEqual(await drawnBoundaries(), { before: 0, atEnd: 0, inside: 0 });
  });
});
