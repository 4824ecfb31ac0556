import assert from "node:assert/strict";
import { type MenuState, menuEntries } from "../../client/menu";
import { contributes, name, publisher } from "../../package.json";

describe("menu", () => {
  const overlay = ["blt.toggleOverlay", "blt.openExplorer", "blt.showStatistics"];
  const learning = ["blt.fineTune", "blt.manageAdapters"];
  const rest = ["blt.selectModel", "workbench.action.openSettings", "blt.showLog", "blt.restartServer"];

  function check(state: MenuState, first: string[]) {
    assert.deepEqual(
      menuEntries(state).map(({ command }) => command),
      // Without a model there is nothing to see of it.
      [...first, "blt.showWhy", ...(state.enabled ? [...overlay, ...learning] : []), ...rest],
    );
  }

  it("offers to ask where suggestions are on", () => {
    check({ enabled: true, language: { id: "python", enabled: true } }, [
      "blt.toggle",
      "blt.toggleLanguage",
      "blt.trigger",
    ]);
  });
  it("does not where they are off", () => {
    check({ enabled: true, language: { id: "python", enabled: false } }, ["blt.toggle", "blt.toggleLanguage"]);
    check({ enabled: false, language: { id: "python", enabled: true } }, ["blt.toggle"]);
    check({ enabled: true, language: null }, ["blt.toggle"]);
  });
  it("says what a choice will do", () => {
    const [on, language] = menuEntries({ enabled: true, language: { id: "python", enabled: false } });
    assert.match(on.label, /off$/);
    assert.match(language.label, /on for python$/);
    assert.match(menuEntries({ enabled: false, language: null })[0].label, /on$/);
  });
  it("opens the settings of this extension", () => {
    const settings = menuEntries({ enabled: true, language: null }).find(({ arguments: given }) => given !== undefined);
    assert.deepEqual(settings?.arguments, [`@ext:${publisher}.${name}`]);
  });
  it("shows the icons of VS Code only", () => {
    for (const { label } of menuEntries({ enabled: true, language: { id: "c", enabled: true } }))
      assert.match(label, /^\$\([a-z-]+\) [A-Z]/);
  });
  it("is not the only way to a command", () => {
    const contributed = contributes.commands.map(({ command }) => command);
    for (const command of [
      "blt.toggle",
      "blt.trigger",
      "blt.showWhy",
      "blt.fineTune",
      "blt.manageAdapters",
      "blt.selectModel",
      "blt.showLog",
      "blt.restartServer",
    ])
      assert.ok(contributed.includes(command), command);
  });
});
