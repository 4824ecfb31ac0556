import assert from "node:assert/strict";
import fc from "fast-check";
import {
  cutFollowingLines,
  cutRepetition,
  cutToWord,
  overlapWithRest,
  quoted,
  toInsertion,
} from "../../server/completion";
import { contextOf } from "./marked-context";

/** The document after the suggestion at `|` was accepted, or the reason why there is none. */
function accepted(marked: string, written: string, invoked = false): string {
  const context = contextOf(marked);
  const insertion = toInsertion(written, context, { invoked });
  if ("reason" in insertion) return insertion.reason;
  const behind = marked.slice(context.text.length + 1);
  const { text, replacesBefore, replacesAfter } = insertion;
  return context.text.slice(0, context.text.length - replacesBefore) + text + behind.slice(replacesAfter);
}

function check(marked: string, written: string, expected: string, invoked = false): void {
  assert.equal(accepted(marked, written, invoked), expected);
}

describe("a quoted text", () => {
  it("can be told from what is around it", () =>
    assert.deepEqual(["a b", 'f("	")', "a\nb\\n"].map(quoted), ['"a b"', '`f("⇥")`', '"a↵b\\n"']));
});

describe("insertion", () => {
  it("is what the model wrote", () => check("const a = |", "foo();", "const a = foo();"));
  it("has no white space at its end", () => check("a = |", "foo(); \n ", "a = foo();"));
  it("is nothing where the model wrote nothing", () => {
    check("a|", "", "emptyPrediction");
    check("a|", "  \n\t", "emptyPrediction");
  });
  it("is nothing where it only repeats the lines below", () => check("|\nfoo();", "foo();", "repeatsText"));
  it("is nothing where it only repeats the rest of the line", () => check("f(a|);", ");", "repeatsText"));
  it("is nothing where it is as quickly typed", () => {
    check("f(a|", ");", "lowValue");
    check("functio|", "n", "lowValue");
    check("f(a|", ");", "f(a);", true);
  });
  it("replaces white space from the line's start", () => {
    const insertion = toInsertion("  foo()", contextOf("{\n  |"), { invoked: false });
    assert.deepEqual(insertion, { text: "    foo()", replacesBefore: 2, replacesAfter: 0 });
  });
  it("has the document's line ends", () => {
    const insertion = toInsertion("foo(\n  x\n)", contextOf("|", "\r\n"), { invoked: true });
    assert.deepEqual(insertion, { text: "foo(\r\n  x\r\n)", replacesBefore: 0, replacesAfter: 0 });
  });
  it("keeps astral characters", () => check('a = "|', '😀 face";', 'a = "😀 face";'));
});

describe("overlap with the rest of the line", () => {
  const overlap = (written: string, rest: string, text: string, replaces = 0) =>
    assert.deepEqual(overlapWithRest(written, rest), { text, replaces });

  it("leaves out a bracket that is there", () => overlap("a, b)", ")", "a, b"));
  it("leaves out several characters", () => overlap('x")];', '")];', "x"));
  it("leaves out as much as there is", () => overlap("a);", ");", "a"));
  it("replaces the bracket where more follows", () => overlap("a);", ")", "a);", 1));
  it("replaces brackets apart from each other", () => overlap("a) + (b);", ");", "a) + (b);", 2));
  it("keeps brackets of its own", () => {
    overlap("g(x)", ")", "g(x)");
    overlap("g(x))", ")", "g(x)");
    overlap("g[0](x)]", "]", "g[0](x)");
  });
  it("keeps quotes of its own", () => {
    overlap('f("x")', '"', 'f("x")');
    overlap('f("x)")', ")", 'f("x)")');
  });
  it("closes the string that the cursor is in", () => overlap('text");', '")', 'text");', 2));
  it("does not take an apostrophe for a quote", () => overlap("don't)", ")", "don't"));
  it("leaves out the whole rest where it is no bracket", () => {
    overlap("x = foo(bar);", " = foo(bar);", "x");
    overlap("a;", ";", "a");
    overlap("a; b", ";", "a; b");
  });
  it("is none for an empty rest or several lines", () => {
    overlap("a)", "  ", "a)");
    overlap("a\n)", ")", "a\n)");
  });
  it("gives back the text, or its beginning", () => {
    const part = fc.string({ unit: fc.constantFrom(..."()[]{}\"'`;, ab"), maxLength: 12 });
    fc.assert(
      fc.property(part, part, (written, rest) => {
        const { text, replaces } = overlapWithRest(written, rest);
        assert.ok(written.startsWith(text));
        assert.ok(replaces === 0 || text === written);
        assert.ok(replaces <= rest.trimEnd().length);
        // What is cut off at the end stands behind the cursor.
        if (text !== written) assert.ok(rest.trimStart().startsWith(written.slice(text.length)));
      }),
    );
  });
});

describe("lines that follow", () => {
  const cut = (written: string, linePrefix: string, following: string, expected: string) =>
    assert.equal(cutFollowingLines(written, linePrefix, following), expected);

  it("are cut from the end", () => cut("a();\n  b();\n}", "  ", "}\n", "a();\n  b();"));
  it("are compared with the cursor's line as a whole", () => cut("= 1;", "a ", "a = 1;\n", ""));
  it("are cut past blank lines", () => cut("a();\nb();", "", "\n\nb();\nc();", "a();"));
  it("are cut when several", () => cut("a\nb\nc", "", "b\nc\nd", "a"));
  it("stay when only some are the same", () => cut("a\nb\nc", "", "b\nd", "a\nb\nc"));
  it("stay with another indentation", () => cut("if (x) {\n    a();\n  }", "  ", "}\n", "if (x) {\n    a();\n  }"));
  it("stay when one line is a bracket alone", () => cut("}", "", "}\n", "}"));
  it("stay at the text's end", () => cut("a();", "", "", "a();"));
});

describe("repetition", () => {
  const cut = (text: string, expected: string) => assert.equal(cutRepetition(text), expected);

  it("ends after its first round", () => {
    cut("x of the set of the set of the set", "x of the set");
    cut("abcdabcdabcdabcdabcd", "abcd");
  });
  it("of short units needs four rounds", () => cut("a, a, a, a, a", "a, a, a, a, a"));
  it("of two rounds is none", () => cut("console.log(a); console.log(a);", "console.log(a); console.log(a);"));
  it("of rulers is meant", () => {
    cut(`// ${"-".repeat(60)}`, `// ${"-".repeat(60)}`);
    cut("|---".repeat(10), "|---".repeat(10));
  });
  it("cuts a beginning of the text", () =>
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "b", " "), maxLength: 80 }), (text) => {
        const once = cutRepetition(text);
        assert.ok(text.startsWith(once) && (text === "" || once !== ""));
      }),
    ));
});

describe("a text cut by a limit", () => {
  it("loses its last word", () => assert.equal(cutToWord("foo(a, barBa"), "foo(a"));
  it("may lose all", () => assert.equal(cutToWord("größ_1"), ""));
  it("loses what would have led to more", () => {
    for (const end of ["[", "(", ".", " = ", ", ", ' "', "\n  "]) assert.equal(cutToWord(`foo${end}`), "foo");
  });
  it("keeps its end where that is no word", () => assert.equal(cutToWord("foo()"), "foo()"));
});
