import assert from "node:assert/strict";
import { statisticsBody } from "../../../model-runtime/display/statistics-page";
import type { Statistics } from "../../../model-runtime/statistics/collect";

const statistics: Statistics = {
  files: [
    { path: "a/<b>.ts", language: "TypeScript", bytes: 1000, bits: 1500, patches: 250 },
    { path: "c.py", language: "Python", bytes: 3000, bits: 1500, patches: 750 },
  ],
  entropy: { width: 0.25, counts: [3000, 500, 500], of: "patcher" },
  lengths: { counts: [10, 500, 490], units: "patches" },
  lines: [{ path: "c.py", line: 6, bytes: 8, bits: 40, excess: 36, text: '<i>"x"</i>', levels: "0003330000" }],
};
const options = {
  title: "my & project",
  model: "tiny",
  skipped: [{ path: "x.png", reason: "binary" }],
  link: (path: string, line: number | null) =>
    path === "c.py" ? `to:${path}${line === null ? "" : `#${line + 1}`}` : null,
  notice: null,
};

describe("statisticsBody", () => {
  const html = statisticsBody(statistics, options);

  it("shows the sums, and the figures by file and language", () => {
    assert.match(html, /<dd>0\.750<\/dd><dt>bits per byte/);
    assert.match(html, /<dd>4\.00<\/dd><dt>bytes a patch/);
    assert.match(html, /data-sort="Python">Python<\/td><td class="number" data-sort="1">1<\/td>/);
    assert.match(html, /data-sort="1.5">1\.500<\/td>/);
    assert.match(html, /1 file was passed over/);
  });

  it("links places, and escapes all that comes from files", () => {
    assert.match(html, /<a href="to:c\.py#7">c\.py:7<\/a>/);
    assert.match(html, /data-sort="a\/&#60;b&#62;\.ts">a\/&#60;b&#62;\.ts<\/td>/);
    assert.match(html, /my &#38; project/);
    assert.doesNotMatch(html, /<i>|<b>/);
    assert.match(html, /<code>&#60;i&#62;<span class="e3">&#34;x&#34;<\/span>&#60;\/i&#62;<\/code>/);
  });

  it("says in words and numbers what the drawings show", () => {
    assert.match(
      html,
      /aria-label="Bytes by entropy\. Half are at or below 0 to 0\.25 nats; most are at 0 to 0\.25 nats\."/,
    );
    assert.match(html, /<td>3 or more bytes<\/td><td>490<\/td>/);
  });

  it("leaves out what one file does not have", () => {
    const single = statisticsBody(
      { ...statistics, files: statistics.files.slice(0, 1), lines: [] },
      { ...options, skipped: [] },
    );
    assert.doesNotMatch(single, /By language|Most surprising|passed over/);
    assert.match(single, /in the file/);
  });
});
