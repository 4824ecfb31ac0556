import assert from "node:assert/strict";
import { ByteText } from "../../media/explorer/byte-text";
import { MOST_LINES, svgOf } from "../../media/explorer/picture";
import type { Segmentation } from "../../media/explorer/segmentations";
import { csvOf, jsonOf } from "../../media/explorer/tables";

const content = new ByteText('a"ß\n');
const segmentations: Segmentation[] = [
  { id: "entropy", name: "Entropy patches", starts: Uint32Array.of(0, 3), cutBytes: 5, problem: null },
  { id: "llama3", name: "Llama 3", starts: null, cutBytes: 0, problem: "None." },
  { id: "byte", name: "Bytes", starts: Uint32Array.of(0, 1, 2, 3, 4), cutBytes: 5, problem: null },
];
const parameters = { threshold: 1.5, monotonic: false, maxPatchLength: null, minPatchLength: 1, patchSize: 4 };
const exported = {
  name: "a <b>.ts",
  model: "tiny",
  content,
  entropies: Float32Array.of(3, 0.1, 0.25, 2, Number.NaN),
  mixed: null,
  parameters,
  segmentations,
};

describe("csvOf", () => {
  it("has a row for each byte, as RFC 4180 wants it", () => {
    assert.equal(
      csvOf(exported),
      [
        "offset,byte,text,entropy_nats,entropy_start,byte_start",
        "0,97,a,3,1,1",
        '1,34,"""",0.1,0,1',
        "2,195,,0.25,0,1",
        "3,159,,2,1,1",
        "4,10,,,0,1",
        "",
      ].join("\r\n"),
    );
  });
});

describe("csvOf and jsonOf", () => {
  it("have the entropies with the workspace's counts where these are shown", () => {
    const mixed = Float32Array.of(1, 0.05, 0.125, Number.NaN, Number.NaN);
    const [head, first, , , unknown] = csvOf({ ...exported, mixed }).split("\r\n");
    assert.equal(head, "offset,byte,text,entropy_nats,mixed_entropy_nats,entropy_start,byte_start");
    assert.deepEqual([first, unknown], ["0,97,a,3,1,1,1", "3,159,,2,,1,1"]);
    assert.deepEqual(JSON.parse(jsonOf({ ...exported, mixed })).mixedEntropies, [1, 0.05, 0.125, null, null]);
  });
});

describe("jsonOf", () => {
  it("has all that was shown", () => {
    const json = JSON.parse(jsonOf(exported));
    assert.deepEqual([json.name, json.model, json.text, json.bytes], ["a <b>.ts", "tiny", 'a"ß\n', 5]);
    assert.deepEqual(json.segmentations.entropy, { count: 2, bytesEach: 2.5, starts: [0, 3] });
    assert.deepEqual(Object.keys(json.segmentations), ["entropy", "byte"]);
    assert.deepEqual(json.entropies.slice(0, 2), [3, 0.1]);
    assert.ok(!("mixedEntropies" in json));
  });
});

describe("svgOf", () => {
  const colours = {
    ground: "#fff",
    text: "#000",
    muted: "#555",
    rule: "#ddd",
    accent: "#08f",
    boundary: "#00f",
    patches: ["#eef", "#ffe"],
  };
  const picture = { ...exported, plotted: exported.entropies, threshold: 1.5, colours };

  it("draws plot, threshold and each segmentation that is known", () => {
    const svg = svgOf(picture);
    assert.match(svg, /^<svg xmlns=/);
    assert.match(svg, /<title>How the model tiny reads a &#60;b&#62;\.ts<\/title>/);
    assert.match(svg, /<polyline points="[^"]+"/);
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
    assert.match(svg, /1\.500 nats/);
    assert.match(svg, />Entropy patches<.*>2 · 2\.50 bytes a patch</s);
    assert.doesNotMatch(svg, /Llama/);
    // The character that a patch cuts is drawn as its bytes.
    assert.match(svg, />a&#34;C39F↵</);
  });

  it("draws a long text's beginning, and says how much is left out", () => {
    const long = new ByteText("x\n".repeat(MOST_LINES + 9));
    const one = [{ ...segmentations[0], starts: Uint32Array.of(0) }];
    const svg = svgOf({ ...picture, content: long, plotted: new Float32Array(long.bytes.length), segmentations: one });
    assert.match(svg, /… 10 more lines/);
  });
});
