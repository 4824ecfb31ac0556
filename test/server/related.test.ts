import assert from "node:assert/strict";
import { RelatedParts } from "../../server/related";

const shapes = `export class Circle {
  constructor(readonly radius: number) {}
  circumference(): number {
    return 2 * Math.PI * this.radius;
  }
}
`;
const colours = `export const colours = { red: "#f00", green: "#0f0", blue: "#00f" };
export function mixColours(first: string, second: string): string {
  return blend(first, second, 0.5);
}
`;

const texts = (...all: string[]) => all.map((text, index) => ({ uri: `file:///${index}.ts`, version: 1, text }));

function find(query: string, all: string[], maxLength = 2000): Promise<string> {
  return new RelatedParts().find(query, texts(...all), maxLength);
}

describe("related parts", () => {
  it("are those that share names with the text", async () => {
    const query = "const circle = new Circle(radius);\ncircle.circumference(";
    assert.equal(await find(query, [colours, shapes]), `${shapes}\n\n`);
  });
  it("are none where too little is shared", async () => {
    assert.equal(await find("return radius", [shapes, colours]), "");
    assert.equal(await find("", []), "");
  });
  it("put the best last", async () => {
    const query = "mixColours(first, second); new Circle(radius).circumference() Math.PI";
    const found = await find(query, [shapes, colours]);
    assert.ok(found.indexOf("mixColours") < found.indexOf("circumference"), found);
  });
  it("fit into the length that is allowed", async () => {
    const query = "mixColours(first, second); new Circle(radius).circumference() Math.PI";
    const found = await find(query, [shapes, colours], shapes.length + 10);
    assert.equal(found, `${shapes}\n\n`);
    assert.equal(await find(query, [shapes, colours], 20), "");
  });
  it("of a long text are the lines around what is shared, once", async () => {
    const filler = Array.from({ length: 400 }, (_, line) => `filler${line}();`);
    filler.splice(200, 0, "readSettings(folder, options);");
    const found = await find("readSettings(folder, options)", [filler.join("\n")]);
    assert.equal(found.split("readSettings").length - 1, 1);
    assert.equal(found.trimEnd().split("\n").length, 16);
  });
  it("follow the text they are of", async () => {
    const related = new RelatedParts();
    const [before] = texts(shapes);
    const query = "new Circle(radius).circumference()";
    assert.notEqual(await related.find(query, [before], 2000), "");
    assert.equal(await related.find(query, [{ ...before, version: 2, text: colours }], 2000), "");
    assert.equal(await related.find(query, [], 2000), "");
  });
});
