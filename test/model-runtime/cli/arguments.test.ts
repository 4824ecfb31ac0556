import assert from "node:assert/strict";
import {
  choice,
  number,
  orNone,
  parseArguments,
  text,
  texts,
  toggle,
  wholeNumber,
} from "../../../model-runtime/cli/arguments";
import { UserError } from "../../../model-runtime/errors";

const command = {
  name: "cook",
  positionals: { usage: "DISH [SIDE]", least: 1, most: 2 },
  options: {
    model: text("DIR", "a text"),
    stop: texts("TEXT", "texts"),
    maxBytes: wholeNumber("N", "a whole number", 1),
    heat: number("T", "a number"),
    longest: orNone(wholeNumber("N", "a whole number", 1)),
    mode: choice("MODE", ["fry", "boil"], "one of some"),
    json: toggle("a switch"),
  },
};

describe("parseArguments", () => {
  function check(argv: string[], values: object, positionals = ["soup"]) {
    assert.deepEqual(parseArguments(command, argv), { values, positionals });
  }

  it("reads every kind of option", () => {
    check(["soup"], {});
    check(["--model", "a", "soup", "--model=b"], { model: "b" });
    check(["--stop", "a", "soup", "--stop="], { stop: ["a", ""] });
    check(["--max-bytes", "12", "soup"], { maxBytes: 12 });
    check(["--heat", "-1.5e1", "soup"], { heat: -15 });
    check(["--heat=.5", "soup"], { heat: 0.5 });
    check(["--longest", "none", "soup"], { longest: null });
    check(["--longest", "3", "soup"], { longest: 3 });
    check(["--mode", "boil", "soup"], { mode: "boil" });
    check(["--json", "soup"], { json: true });
    check(["--json", "soup", "--no-json"], { json: false });
  });

  it("reads positional arguments anywhere, - and what follows -- among them", () => {
    check(["-", "--json", "rice"], { json: true }, ["-", "rice"]);
    check(["--", "--json", "-h"], {}, ["--json", "-h"]);
  });

  it("gives way to a wish for help", () => {
    assert.equal(parseArguments(command, ["--nonsense", "-h"]), null);
    assert.equal(parseArguments(command, ["--help"]), null);
  });

  const refused: [string[], RegExp][] = [
    [[], /^"blt cook" needs DISH \[SIDE\]; "blt cook --help" says/],
    [["a", "b", "c"], /does not know what to do with "c"/],
    [["a", "--nonsense"], /^Unknown option --nonsense for "blt cook"/],
    [["a", "-x"], /^Unknown option -x /],
    [["a", "--model"], /^--model needs a value/],
    [["a", "--model", "--json"], /^--model needs a value; .*--model=--json/],
    [["a", "--json=yes"], /^--json is a switch/],
    [["a", "--no-model"], /^Unknown option --no-model/],
    [["a", "--max-bytes", "0"], /^--max-bytes must be a whole number of at least 1, not "0"/],
    [["a", "--max-bytes", "1.5"], /not "1\.5"/],
    [["a", "--max-bytes", "1e300"], /not "1e300"/],
    [["a", "--heat", "nan"], /^--heat must be a number, not "nan"/],
    [["a", "--heat", "Infinity"], /not "Infinity"/],
    [["a", "--heat", "0x10"], /not "0x10"/],
    [["a", "--heat="], /not ""/],
    [["a", "--longest", "nothing"], /not "nothing"/],
    [["a", "--mode", "bake"], /^--mode must be one of fry, boil, not "bake"/],
  ];
  for (const [argv, message] of refused) {
    it(`refuses ${argv.join(" ") || "nothing"}`, () => {
      assert.throws(
        () => parseArguments(command, argv),
        (error: Error) => error instanceof UserError && message.test(error.message) && /^[^\n]+\.$/.test(error.message),
      );
    });
  }
});
