/**
 * What a person sees of patches and entropies: overlay, hover, explorer with its threshold, in a real VS Code. What is
 * drawn is compared with the model's own numbers, computed here.
 * Environment: VSIX, the package; SHOTS, a folder for screenshots (default .cache/e2e/shots).
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { FrameLocator, Page } from "playwright-core";
import { openCheckpoint } from "../../model-runtime/checkpoint/open-checkpoint";
import { encode } from "../../model-runtime/ids";
import { entropiesOf, loadPatcher } from "../../model-runtime/model/entropy-model";
import { patchStarts } from "../../model-runtime/patching/patch-lengths";
import { focusEditor, runCommand } from "./editor";
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
const files = { "shapes.ts": program };

interface Truth {
  entropies: Float32Array;
  /** Byte offsets, for a threshold or the model's own. */
  starts(threshold?: number): number[];
}

async function truthOf(text: string): Promise<Truth> {
  const checkpoint = openCheckpoint(tiny, {});
  const { patching } = checkpoint.config;
  const patcher = await loadPatcher(checkpoint, { device: "cpu", threads: 1 });
  const ids = encode(Buffer.from(text));
  const entropies = await entropiesOf(patcher, ids, { patching });
  await patcher.release();
  return {
    entropies,
    starts(threshold = patching.threshold) {
      const { starts } = patchStarts(ids, entropies, { ...patching, threshold });
      return starts.slice(1).map((position) => position - 1);
    },
  };
}

describe("patches and entropies in VS Code", function () {
  this.timeout(300_000);

  let sandbox: Sandbox;
  let server: CodeServer;
  let view: View;
  let page: Page;
  let truth: Truth;

  const settings = { "blt.modelPath": tiny, "workbench.colorTheme": "Default Dark Modern" };
  const shot = (name: string) => page.screenshot({ path: join(shots, `${name}.png`) });
  const overlayItem = () => page.locator('.statusbar-item[id="blt-code.blt-code.blt.overlay"]');
  const explorer = (): FrameLocator =>
    page.frameLocator("iframe.webview.ready").last().frameLocator("iframe#active-frame");

  before(async () => {
    mkdirSync(shots, { recursive: true });
    truth = await truthOf(program);
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
  function drawnBoundaries(): Promise<{ before: number; atEnd: number; inside: number }> {
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

  /** The same, as the model's numbers have it. */
  function expectedBoundaries(text: string, starts: readonly number[]) {
    const bytes = Buffer.from(text);
    const isInside = (at: number) => (bytes[at] & 0xc0) === 0x80;
    const startOf = (at: number) => {
      let start = at;
      while (isInside(start)) start--;
      return start;
    };
    return {
      before: starts.filter((at) => bytes[at] !== 10 && !isInside(at)).length,
      atEnd: starts.filter((at) => bytes[at] === 10).length,
      inside: new Set(starts.filter(isInside).map(startOf)).size,
    };
  }

  async function expectDrawn(text: string, { starts }: Truth): Promise<void> {
    const expected = JSON.stringify(expectedBoundaries(text, starts()));
    let drawn = "";
    await until(
      `boundaries ${expected}`,
      async () => (drawn = JSON.stringify(await drawnBoundaries())) === expected,
      60_000,
    ).catch((error) => {
      throw new Error(`${error.message} Drawn: ${drawn}.`);
    });
  }

  async function chooseView(label: string): Promise<void> {
    await overlayItem().click();
    await page.locator(".quick-input-widget .quick-input-title", { hasText: "What the overlay shows" }).waitFor();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: label }).first().click();
    await overlayItem().filter({ hasText: label }).waitFor();
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

  it("tells in a hover what the model expected, with its own numbers", async () => {
    const word = page.locator(".view-line span span", { hasText: /^readonly$|readon/ }).first();
    await word.hover({ position: { x: 3, y: 8 } });
    const hover = page.locator(".monaco-hover:not(.hidden)", { hasText: "Likeliest" });
    await hover.waitFor({ timeout: 60_000 });
    await page.locator(".monaco-hover:not(.hidden)", { hasText: "would have written" }).waitFor({ timeout: 60_000 });
    const text = (await hover.first().innerText()).replaceAll("\u00a0", " ");
    const at = Buffer.byteLength(program.slice(0, program.indexOf("readonly")));
    assert.match(text, /Patch \d+ · \d+ bytes?/);
    assert.ok(text.includes(`${truth.entropies[at].toFixed(2)} nats`), text);
    assert.match(text, /H = .* nats is (not )?above the threshold 2\.881389\./);
    assert.match(text, /Likeliest: .+ % · .+ % · .+ % · .+ % · .+ %/);
    await shot("overlay-hover");
    await page.mouse.move(5, 600);
  });

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
});
