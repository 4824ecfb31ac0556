import assert from "node:assert/strict";
import fc from "fast-check";
import { Documents, MAX_DOCUMENT_LENGTH } from "../../server/documents";
import { confidentLength, createConfidenceRule, refuseDocument, refusePlace } from "../../server/gate";
import { defaultSettings, type Settings } from "../../server/protocol";
import { contextOf } from "./marked-context";

function checkDocument(
  expected: string | null,
  changed: Partial<Settings> = {},
  text = "a",
  languageId = "rust",
): void {
  const documents = new Documents();
  documents.didOpen({ textDocument: { uri: "file:///src/a%20b.rs", languageId, version: 1, text } });
  const { refusal } = refuseDocument(documents.get("file:///src/a%20b.rs"), { ...defaultSettings, ...changed });
  assert.equal(refusal?.sentence ?? null, expected);
}

function checkPlace(text: string, lineRest: string, expected: string | null, invoked = false): void {
  assert.equal(refusePlace(contextOf(`${text}|${lineRest}`), invoked)?.reason ?? null, expected);
}

describe("documents", () => {
  it("are completed", () => checkDocument(null));
  it("are not when switched off", () =>
    checkDocument("Suggestions are switched off (setting blt.enable).", { enable: false }));
  it("are not in a language that is switched off", () => {
    const off = { languages: { rust: false } };
    checkDocument("Suggestions are switched off for rust (setting blt.languages).", off);
    checkDocument(null, off, "a", "go");
  });
  it("are not when too large", () =>
    checkDocument(
      "a b.rs is too large: suggestions are made up to 1,200,000 characters.",
      {},
      "x".repeat(MAX_DOCUMENT_LENGTH + 1),
    ));
  it("are not when unknown", () =>
    assert.equal(refuseDocument(undefined, defaultSettings).refusal?.reason, "unknownDocument"));
  it("may have a name that is no URI", () => {
    const documents = new Documents();
    documents.didOpen({ textDocument: { uri: "file:///100%.rs", languageId: "rust", version: 1, text: "" } });
    assert.equal(refuseDocument(documents.get("file:///100%.rs"), defaultSettings).refusal, null);
  });
});

describe("places", () => {
  it("at a line's end are completed", () => checkPlace("a", "", null));
  it("before what the editor closes are completed", () => {
    for (const rest of [")", '");', "]}", "  ", ">", "},"]) checkPlace("a", rest, null);
  });
  it("before other text are not, unless asked for", () => {
    checkPlace("fo", "o bar", "textAfterCursor");
    checkPlace("a", " = 1", "textAfterCursor");
    checkPlace("fo", "o bar", null, true);
  });
  it("in binary files are not", () => checkPlace("a\0b", "", "binaryDocument", true));
});

describe("confidence", () => {
  const check = (text: string, probabilities: number[], expected: string, minConfidence = 0.5) => {
    const bytes = Buffer.from(text);
    const length = confidentLength(bytes, probabilities.map(Math.log), minConfidence);
    assert.equal(bytes.subarray(0, length).toString(), expected);
  };
  it("shows all where the mean is high enough", () => check("a.b", [0.9, 0.2, 0.9], "a.b"));
  it("ends at the last word that is sure enough", () => check("foo.bar", [1, 1, 1, 1, 0.1, 0.01, 0.01], "foo"));
  it("shows nothing where no word is sure", () => check("foo", [0.1, 0.6, 0.6], ""));
  it("does not end inside a word", () => check("foobar", [1, 1, 1, 0.01, 0.01, 0.01], ""));
  it("of 0 shows all", () => check("foo", [1e-9, 1e-9, 1e-9], "foo", 0));
  it("of 1 shows what is certain", () => check("a.b", [1, 1, 0.99], "a", 1));
  it("of nothing is nothing", () => check("", [], ""));
  it("is that of the bytes kept, wherever it ends", () => {
    const letters = fc.array(fc.tuple(fc.constantFrom(..."ab. é"), fc.double({ min: 0.01, max: 1, noNaN: true })));
    fc.assert(
      fc.property(letters, fc.double({ min: 0.01, max: 1, noNaN: true }), (list, least) => {
        const bytes = Buffer.from(list.map(([letter]) => letter).join(""));
        const logProbs = [...bytes].map((_, index) => Math.log(list[Math.min(index, list.length - 1)][1]));
        const length = confidentLength(bytes, logProbs, least);
        const mean = logProbs.slice(0, length).reduce((sum, value) => sum + value, 0) / Math.max(1, length);
        assert.ok(mean >= Math.log(least) - 1e-9);
      }),
    );
  });

  it("is given up the sooner the lower it is", () => {
    const givenUpAt = (probability: number, least: number) => {
      const isUnsure = createConfidenceRule(least);
      return Array.from({ length: 100 }, () => isUnsure(Math.log(probability))).indexOf(true);
    };
    assert.equal(givenUpAt(0.1, 0.5), 5);
    assert.equal(givenUpAt(0.3, 0.5), 10);
    assert.equal(givenUpAt(0.49, 0.5), 23);
    assert.equal(givenUpAt(0.51, 0.5), -1);
    assert.equal(givenUpAt(1e-9, 0), -1);
  });
});
