import assert from "node:assert/strict";
import { createStopRule, type Extent, extentAt, MAX_LINES } from "../../server/extent";
import type { Multiline } from "../../server/protocol";
import { contextOf } from "./marked-context";

type Options = { multiline?: Multiline; invoked?: boolean };

/** The extent at `|` in `marked`. */
function extentOf(marked: string, { multiline = "auto", invoked = false }: Options = {}): Extent {
  return extentAt(contextOf(marked), { multiline, invoked });
}

function checkExtent(marked: string, expected: Extent, options?: Options): void {
  assert.deepEqual(extentOf(marked, options), expected);
}

/** What is left of `written` by the extent at `|`. */
function check(marked: string, written: string, expected: string, options: Options = { invoked: true }): void {
  const isEnough = createStopRule(extentOf(marked, options));
  const bytes = Buffer.from(written);
  const end = bytes.findIndex((byte) => isEnough(byte));
  const text = bytes.subarray(0, end < 0 ? bytes.length : end).toString();
  assert.equal(text.trimEnd(), expected);
}

const line: Extent = { kind: "line" };

describe("extent", () => {
  it("is the line by default", () => {
    checkExtent("const a = |", line);
    checkExtent("f();\n|", line);
  });
  it("is the block where one was just opened", () => {
    checkExtent("function f() {\n  |\n}", { kind: "block", indent: 2, takesCloser: false });
    checkExtent("def f():\n    |", { kind: "block", indent: 4, takesCloser: true });
    checkExtent("if x; then\n\t|\nfi", { kind: "block", indent: 4, takesCloser: true });
    checkExtent("const a = [\n|", { kind: "block", indent: 0, takesCloser: true });
  });
  it("is the line where the block has content", () => checkExtent("function f() {\n  |\n  return;\n}", line));
  it("is the line behind an opener that is not at its end", () => checkExtent("f(); // {x}\n  |", line));
  it("is the block when asked for", () =>
    checkExtent("const a = |", { kind: "block", indent: 1, takesCloser: true }, { invoked: true }));
  it("is the line when text follows in it", () => checkExtent("f(|)", line, { invoked: true, multiline: "always" }));
  it("is the line when several are switched off", () =>
    checkExtent("{\n|", line, { multiline: "never", invoked: true }));
  it("is the block on any blank line when always wanted", () => {
    checkExtent("f();\n  |", { kind: "block", indent: 2, takesCloser: true }, { multiline: "always" });
    checkExtent("f(|", line, { multiline: "always" });
  });
  it("does not mistake the outer block's closing bracket for its own", () => {
    checkExtent("{\n  if (x) {\n    |\n}", { kind: "block", indent: 4, takesCloser: true });
    checkExtent("{\n  if (x) {\n    |\n  }\n}", { kind: "block", indent: 4, takesCloser: false });
  });
});

describe("the stop rule", () => {
  it("ends at the line's end", () => check("a = |", "b;\nc;", "b;", {}));
  it("ends at once where the model expects the line's end", () => check("a = b;|", "\nc;", "", {}));
  it("ends a block before the line that leaves it", () =>
    check("def f():\n    |", "a = 1\n    return a\n\ndef g():", "a = 1\n    return a"));
  it("ends a block before an outer line without a blank one between", () =>
    check("def f():\n    |", "return 1\nclass A:", "return 1"));
  it("takes the block's closing bracket when the text has none", () =>
    check("function f() {\n  |", "a();\n  b();\n}\nf();", "a();\n  b();\n}"));
  it("leaves out the closing bracket that the text has", () =>
    check("function f() {\n  |\n}", "a();\n  b();\n}\n", "a();\n  b();"));
  it("takes inner closing brackets", () => {
    check("function f() {\n  |\n}", "if (x) {\n    a();\n  }\n  b();\n}", "if (x) {\n    a();\n  }\n  b();");
  });
  it("follows a block that the cursor's line opens", () =>
    check("  if (x) {|", "\n    a();\n  }\n  b();", "\n    a();\n  }"));
  it("ends behind a statement that is asked for", () => check("const a = |", "f(\n  1,\n);\ng();", "f(\n  1,\n);"));
  it("ends at a blank line", () => check("{\n  |", "a();\n\n  b();", "a();"));
  it("goes past a line end right at the cursor", () => check("  a();|", "\n    .b();\n  c();", "\n    .b();"));
  it("ends after some lines", () => {
    const lines = Array.from({ length: 20 }, (_, index) => `line${index}`);
    check("|", lines.join("\n"), lines.slice(0, MAX_LINES).join("\n"));
  });
  it("counts a tab as four columns", () => check("if x:\n\t|", "a\n    b\n  c", "a\n    b"));
});
