import assert from "node:assert/strict";
import fc from "fast-check";
import { defaultSettings, settingRanges } from "../../server/protocol";
import { checkSettings, isLanguageEnabled, sectionOf } from "../../server/settings";

function check(given: unknown, changed: object, notices: (string | RegExp)[] = []): void {
  const result = checkSettings(given);
  assert.deepEqual(result.settings, { ...defaultSettings, ...changed });
  assert.equal(result.notices.length, notices.length, result.notices.join("\n"));
  for (const [index, notice] of notices.entries()) {
    if (typeof notice === "string") assert.equal(result.notices[index], notice);
    else assert.match(result.notices[index], notice);
  }
}

describe("settings", () => {
  it("are the defaults when nothing is given", () => {
    check(undefined, {});
    check(null, {});
    check({}, {});
  });
  it("are taken when they will do", () => {
    const given = { enable: false, modelPath: "/m", device: "cuda", contextBytes: 512, multiline: "never", threads: 2 };
    check(given, given);
  });
  it("that are null have their default", () => check({ modelPath: null, delay: null }, {}));
  it("of other names are left alone", () => check({ overlay: true, "model path": 3 }, {}));
  it("of a wrong type have their default, and it is said", () =>
    check({ enable: "yes", delay: 10 }, { delay: 10 }, [
      'Setting blt.enable must be true or false, not "yes"; true is used.',
    ]));
  it("out of their range have their default", () =>
    check({ contextBytes: 10, maxSuggestionBytes: 12.5, minConfidence: 2 }, {}, [
      "Setting blt.contextBytes must be a whole number from 256 to 32768, not 10; 4096 is used.",
      /^Setting blt.maxSuggestionBytes must be a whole number from 8 to 4096, not 12.5;/,
      /^Setting blt.minConfidence must be a number from 0 to 1, not 2;/,
    ]));
  it("that are no number are none", () =>
    check({ delay: "30", threads: Number.NaN }, {}, [/threads .* not NaN;/, /delay .* not "30";/]));
  it("name their choices", () =>
    check({ device: "gpu", multiline: true }, {}, [
      /one of auto, cpu, cuda, .*, not "gpu"/,
      /one of never, auto, always/,
    ]));
  it("of languages are true or false", () => {
    check({ languages: { rust: false } }, { languages: { rust: false } });
    check({ languages: { rust: "off" } }, {}, [/^Setting blt.languages must be an object of language ids/]);
    check({ languages: ["rust"] }, {}, [/blt.languages/]);
  });
  it("that are no object are refused as a whole", () => {
    check([1], {}, [/^The settings must be an object of names and values, not \[1\]/]);
    check("on", {}, [/not "on"/]);
  });
  it("show long values shortened", () => check({ device: "x".repeat(100) }, {}, [/not "x{56}\.\.\.;/]));
  it("take both ends of each range", () => {
    for (const [name, { least, most }] of Object.entries(settingRanges)) {
      check({ [name]: least }, { [name]: least });
      check({ [name]: most }, { [name]: most });
    }
  });
  it("are usable whatever is given", () => {
    const anything = fc.record(Object.fromEntries(Object.keys(defaultSettings).map((name) => [name, fc.anything()])), {
      requiredKeys: [],
    });
    fc.assert(
      fc.property(anything, (given) => {
        const { settings } = checkSettings(given);
        assert.deepEqual(checkSettings(settings), { settings, notices: [] });
      }),
    );
  });
});

describe("section of the settings", () => {
  it("is found under its name", () => assert.deepEqual(sectionOf({ blt: { enable: false } }), { enable: false }));
  it("may stand alone", () => assert.deepEqual(sectionOf({ enable: false }), { enable: false }));
  it("may be missing", () => assert.equal(sectionOf(null), null));
});

describe("languages", () => {
  const enabled = (languages: Record<string, boolean>, id: string) =>
    isLanguageEnabled({ ...defaultSettings, languages }, id);
  it("are enabled by name", () => assert.equal(enabled({ rust: true, "*": false }, "rust"), true));
  it("are disabled by name", () => assert.equal(enabled({ rust: false, "*": true }, "rust"), false));
  it("that are not named follow the star", () => assert.equal(enabled({ "*": false }, "rust"), false));
  it("are enabled without a star", () => assert.equal(enabled({}, "rust"), true));
  it("are not looked for in the prototype", () => assert.equal(enabled({ "*": false }, "constructor"), false));
});
