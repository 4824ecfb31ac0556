/** package.json says the same as the code. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { devices } from "../../model-runtime/device";
import * as manifest from "../../package.json";
import { defaultSettings, multilineChoices, settingRanges } from "../../server/protocol";

const { contributes } = manifest;
const root = join(__dirname, "../..");

interface Property {
  default: unknown;
  type: string;
  enum?: string[];
  enumDescriptions?: string[];
  minimum?: number;
  maximum?: number;
  markdownDescription: string;
}
const properties = contributes.configuration.properties as unknown as Record<string, Property>;

describe("manifest", () => {
  it("declares the settings of the protocol with the same defaults, at most twelve", () => {
    const declared = Object.entries(properties).map(([name, property]) => [name, property.default]);
    assert.deepEqual(
      Object.fromEntries(declared),
      Object.fromEntries(Object.entries(defaultSettings).map(([name, value]) => [`blt.${name}`, value])),
    );
    assert.ok(declared.length <= 12);
  });
  it("declares the same ranges", () => {
    for (const [name, { least, most, whole }] of Object.entries(settingRanges)) {
      const { minimum, maximum, type } = properties[`blt.${name}`];
      assert.deepEqual([name, minimum, maximum, type], [name, least, most, whole ? "integer" : "number"]);
    }
  });
  it("declares the same choices, each described", () => {
    assert.deepEqual(properties["blt.device"].enum, [...devices]);
    assert.deepEqual(properties["blt.multiline"].enum, [...multilineChoices]);
    for (const property of Object.values(properties))
      assert.equal(property.enumDescriptions?.length, property.enum?.length);
  });
  it("describes each setting in whole sentences", () => {
    for (const [name, { markdownDescription }] of Object.entries(properties))
      assert.match(markdownDescription, /^[A-Z].*\.$/, name);
  });

  it("lets a folder that is not trusted choose no files", () => {
    assert.deepEqual(manifest.capabilities.untrustedWorkspaces.restrictedConfigurations, ["blt.modelPath"]);
  });

  // test/e2e/host looks it up among VS Code's own keys.
  it("binds one key", () => {
    assert.deepEqual(
      contributes.keybindings.map(({ key, command }) => [key, command]),
      [["alt+\\", "blt.trigger"]],
    );
  });

  it("names commands that exist and files that exist", () => {
    const commands = new Set(contributes.commands.map(({ command }) => command));
    const colors = new Set(contributes.colors.map(({ id }) => id));
    const text = readFileSync(join(root, "package.json"), "utf8");
    for (const [, command] of text.matchAll(/"(?:onCommand:|command:)?(blt\.[a-zA-Z]+)"/g))
      if (!(command in properties) && !colors.has(command)) assert.ok(commands.has(command), command);
    for (const [, command] of text.matchAll(/\(command:(blt\.[a-zA-Z]+)\)/g)) assert.ok(commands.has(command), command);
    for (const [, file] of text.matchAll(/"(media\/[^"]+)"/g)) assert.ok(existsSync(join(root, file)), file);
  });
  it("registers in the code each command it contributes", () => {
    const code = readFileSync(join(root, "client/extension.ts"), "utf8");
    for (const { command } of contributes.commands) assert.ok(code.includes(`"${command}"`), command);
  });
  it("uses no API that is still a proposal", () => {
    assert.ok(!("enabledApiProposals" in manifest));
  });
});
