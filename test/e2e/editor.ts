/** What a person does in the workbench and sees there. */
import { errors, type Locator, type Page } from "playwright-core";
import { sleep, until } from "./workbench";

const activeGroup = ".editor-group-container.active";

/** Runs a command by its name in the palette; again when the palette was closed meanwhile (by a file that opened). */
export async function runCommand(page: Page, title: string): Promise<void> {
  await choose(page, ["F1"], `>${title}`, title);
}

/** Opens VS Code's quick input by its keys, writes into it and takes the first row with a text; again where the keys were lost. */
export async function choose(page: Page, keys: readonly string[], query: string, text: string): Promise<void> {
  const input = page.locator(".quick-input-widget .quick-input-box input");
  const row = page.locator(".quick-input-list .monaco-list-row").filter({ hasText: text }).first();
  await until(`the row ${text}`, async () => {
    try {
      for (const key of keys) await page.keyboard.press(key);
      await input.fill(query, { timeout: 2_000 });
      await row.click({ timeout: 2_000 });
      return true;
    } catch (error) {
      if (error instanceof errors.TimeoutError) return null;
      throw error;
    }
  });
}

/** Until the text editor has the keyboard: keys typed earlier get lost. */
export async function focusEditor(page: Page): Promise<void> {
  const editor = page.locator(`${activeGroup} .monaco-editor[data-uri]`).first();
  await editor.waitFor();
  await until("the editor has the keyboard", async () => {
    if ((await page.locator(`${activeGroup} .monaco-editor.focused`).count()) > 0) return true;
    await editor.locator(".view-lines").click();
    await sleep(100);
    return null;
  });
}

export async function openFile(page: Page, name: string): Promise<void> {
  await choose(page, ["Control+P"], name, name);
  await page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
  await focusEditor(page);
}

/** Cursor to the end of the file; the status bar says so. */
export async function cursorToEnd(page: Page, line: number, column: number): Promise<void> {
  await focusEditor(page);
  const place = page.locator(".statusbar-item", { hasText: `Ln ${line}, Col ${column}` });
  await until(`the cursor is at ${line}:${column}`, async () => {
    await page.keyboard.press("Control+End");
    return place.waitFor({ timeout: 500 }).then(
      () => true,
      () => null,
    );
  });
}

/** The ghost text as drawn: the rest of the line and the lines below; empty when there is none. */
export async function ghostText(page: Page): Promise<string> {
  const inLine = await page.locator(`${activeGroup} .ghost-text-decoration`).allInnerTexts();
  const below = await page.locator(`${activeGroup} .suggest-preview-text .view-line`).allInnerTexts();
  return [inLine.join(""), ...below]
    .map((line) => line.replaceAll("\u00a0", " "))
    .join("\n")
    .trimEnd();
}

/** The extension's item in the status bar. */
export function statusItem(page: Page): Locator {
  return page.locator('.statusbar-item[id="blt-code.blt-code.blt.status"]');
}

/** The labels of the quick pick with this title, once it is open. */
export async function quickPickLabels(page: Page, title: string): Promise<string[]> {
  await page.locator(".quick-input-widget .quick-input-title", { hasText: title }).waitFor();
  await page.locator(".quick-input-list .monaco-list-row").first().waitFor();
  // Each entry has its label in a first line, and its detail in a second.
  return page.locator(".quick-input-list-rows > :first-child .label-name").allInnerTexts();
}
