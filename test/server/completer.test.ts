import assert from "node:assert/strict";
import {
  type CancellationToken,
  CancellationTokenSource,
  type InlineCompletionItem,
  InlineCompletionTriggerKind,
  type SelectedCompletionInfo,
} from "vscode-languageserver/node";
import { Completer } from "../../server/completer";
import { Documents } from "../../server/documents";
import type { HostState } from "../../server/host-state";
import type { Job, JobResult, Written } from "../../server/model-host";
import { type Decision, defaultSettings, type Settings } from "../../server/protocol";
import type { ModelRequest } from "../../server/worker-protocol";

const uri = "file:///a.ts";

/** A request whose bytes the test writes. */
class ScriptedJob implements Job {
  private readonly written: number[] = [];
  readonly done: Promise<JobResult>;
  aborted = false;
  probability = 1;
  private resolve!: (result: JobResult) => void;

  constructor(readonly request: ModelRequest) {
    this.done = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }
  write(text: string): this {
    this.written.push(...Buffer.from(text, "latin1"));
    return this;
  }
  soFar(): Written {
    const bytes = Uint8Array.from(this.written);
    return { bytes, logProbs: new Float64Array(bytes.length).fill(Math.log(this.probability)) };
  }
  end(end: JobResult["end"] = "rule"): void {
    this.resolve({ end, ...this.soFar() });
  }
  abort(): void {
    this.aborted = true;
    this.end("aborted");
  }
}

/** An editor with one document, whose cursor stands at `|`. */
class Editor {
  readonly documents = new Documents();
  readonly jobs: ScriptedJob[] = [];
  readonly decisions: Decision[] = [];
  state: HostState = { kind: "ready", device: "cpu", kernel: null, notice: null, adapter: null, adapterNotice: null };
  private version = 1;
  private cursor: number;
  readonly completer: Completer;

  constructor(marked: string, settings: Partial<Settings> = {}, mayWorkAhead = false) {
    this.cursor = marked.indexOf("|");
    const text = marked.replace("|", "");
    this.documents.didOpen({ textDocument: { uri, languageId: "typescript", version: 1, text } });
    const editor = this;
    this.completer = new Completer({
      documents: this.documents,
      host: {
        complete(request) {
          editor.jobs.push(new ScriptedJob(request));
          return editor.job;
        },
        get state() {
          return editor.state;
        },
      },
      settings: () => ({ ...defaultSettings, delay: 0, ...settings }),
      onDecision: (decision) => this.decisions.push(decision),
      mayWorkAhead: () => mayWorkAhead,
    });
  }

  get job(): ScriptedJob {
    return this.jobs[this.jobs.length - 1];
  }
  get text(): string {
    return this.documents.get(uri)!.text!.getText();
  }
  type(text: string, deleted = 0): void {
    const document = this.documents.get(uri)!.text!;
    const [start, end] = [this.cursor - deleted, this.cursor].map((offset) => document.positionAt(offset));
    this.completer.documentChanged(
      this.documents.didChange({
        textDocument: { uri, version: ++this.version },
        contentChanges: [{ range: { start, end }, text }],
      }),
    );
    this.cursor += text.length - deleted;
  }
  ask(options: { token?: CancellationToken; invoked?: boolean; selected?: SelectedCompletionInfo } = {}) {
    return this.completer.complete(
      {
        textDocument: { uri },
        position: this.documents.get(uri)!.text!.positionAt(this.cursor),
        context: {
          triggerKind: options.invoked ? InlineCompletionTriggerKind.Invoked : InlineCompletionTriggerKind.Automatic,
          selectedCompletionInfo: options.selected,
        },
      },
      options.token ?? new CancellationTokenSource().token,
    );
  }
  /** The document after the item was accepted. */
  accepted(item: InlineCompletionItem | null): string | null {
    if (item === null) return null;
    const document = this.documents.get(uri)!.text!;
    const { start, end } = item.range!;
    return this.text.slice(0, document.offsetAt(start)) + item.insertText + this.text.slice(document.offsetAt(end));
  }
  get reasons(): string[] {
    return this.decisions.map(({ reason }) => reason);
  }
}

/** Lets everything run that needs no timer. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

async function check(marked: string, written: string, expected: string | null, reason: string): Promise<void> {
  const editor = new Editor(marked);
  const item = editor.ask();
  await settled();
  editor.job?.write(written).end();
  assert.equal(editor.accepted(await item), expected);
  assert.deepEqual(editor.reasons, [reason]);
}

describe("completer", () => {
  it("reads little for a request that waits for the model to be loaded as well", async () => {
    const lengthOfContext = async (state: HostState) => {
      const editor = new Editor(`${"const value = 1;\n".repeat(500)}const a = |`);
      editor.state = state;
      const item = editor.ask();
      await settled();
      editor.job.end();
      await item;
      return editor.job.request.context.length;
    };
    assert.ok((await lengthOfContext({ kind: "loading", fraction: 0 })) <= 600);
    assert.ok(
      (await lengthOfContext({
        kind: "ready",
        device: "cpu",
        kernel: null,
        notice: null,
        adapter: null,
        adapterNotice: null,
      })) >= 900,
    );
  });
  it("makes an item", () => check("a = |", "foo();", "a = foo();", "shown"));
  it("fits it to the text behind the cursor", () => check("f(|)", "ab);", "f(ab);", "shown"));
  it("replaces the white space of a blank line", () => check("{\n  |\n}", "foo();", "{\n  foo();\n}", "shown"));
  it("shows no half character", () => check("a = |", "foo\xe2\x82", "a = foo", "shown"));
  it("shows nothing that is no text", () => check("a = |", "\xff\x00", null, "emptyPrediction"));
  it("shows nothing where the model writes nothing", () => check("a = |", "", null, "emptyPrediction"));
  it("does not ask the model where rules forbid it", async () => {
    const editor = new Editor("a| = 1");
    assert.equal(await editor.ask(), null);
    assert.deepEqual([editor.jobs.length, editor.reasons], [0, ["textAfterCursor"]]);
  });

  it("shows nothing that the model is not sure of", async () => {
    const editor = new Editor("a = |");
    const item = editor.ask();
    await settled();
    editor.job.probability = 0.1;
    editor.job.write("foo").end("unsure");
    assert.equal(await item, null);
    assert.equal(await editor.ask(), null);
    assert.deepEqual([editor.jobs.length, editor.reasons], [1, ["lowConfidence", "lowConfidence"]]);
    const sentence = 'The model is only 10 % sure of "foo…" (setting blt.minConfidence: 94 %).';
    assert.deepEqual(
      editor.decisions.map((decision) => decision.sentence),
      [sentence, sentence],
    );
  });
  it("tells how unsure it was of a long text, and never as much as was wanted", async () => {
    const editor = new Editor("a = |", { minConfidence: 0.945 });
    const item = editor.ask();
    await settled();
    editor.job.probability = 0.9449;
    editor.job.write(`${"b".repeat(45)}\nc`).end("unsure");
    assert.equal(await item, null);
    assert.equal(
      editor.decisions[0].sentence,
      `The model is only 94 % sure of "${"b".repeat(40)}…" (setting blt.minConfidence: 94.5 %).`,
    );
  });
  it("shows whole words of what a limit cut", async () => {
    const editor = new Editor("a = |");
    const item = editor.ask();
    await settled();
    editor.job.write("foo(barBa").end("time");
    assert.equal(editor.accepted(await item), "a = foo");
  });
  it("shows nothing where the limit came before a word's end", async () => {
    const editor = new Editor("a = |");
    const item = editor.ask();
    await settled();
    editor.job.write("foobarBa").end("length");
    assert.equal(await item, null);
    assert.match(editor.decisions[0].sentence, /did not finish a word/);
  });

  it("answers what is typed as suggested without the model", async () => {
    const editor = new Editor("a = |");
    const item = editor.ask();
    await settled();
    editor.job.write("foo(bar);").end();
    await item;
    for (const typed of ["f", "oo(", "b"]) {
      editor.type(typed);
      assert.equal(editor.accepted(await editor.ask()), "a = foo(bar);");
    }
    assert.deepEqual([editor.jobs.length, editor.reasons.slice(1)], [1, Array(3).fill("shownFromCache")]);
    assert.deepEqual(editor.completer.answers, { fromModel: 1, fromRunning: 0, fromCache: 3 });
  });
  it("answers a bracket that the editor closes", async () => {
    const editor = new Editor("|");
    const item = editor.ask();
    await settled();
    editor.job.write("foo(bar);").end();
    await item;
    editor.type("foo()");
    editor.type("", 0);
    Object.assign(editor, { cursor: 4 });
    assert.equal(editor.accepted(await editor.ask()), "foo(bar);");
    assert.equal(editor.jobs.length, 1);
  });
  it("lets work go on that wrote what was typed meanwhile, and uses it", async () => {
    const editor = new Editor("a = |");
    const source = new CancellationTokenSource();
    const first = editor.ask({ token: source.token });
    await settled();
    editor.job.write("foo(");
    editor.type("fo");
    source.cancel();
    assert.equal(await first, null);
    const second = editor.ask();
    await settled();
    editor.job.write("bar);").end();
    assert.equal(editor.accepted(await second), "a = foo(bar);");
    assert.deepEqual([editor.jobs.length, editor.job.aborted, editor.reasons], [1, false, ["cancelled", "shown"]]);
    assert.equal(editor.completer.answers.fromRunning, 1);
  });
  it("begins anew where the work wrote something else", async () => {
    const editor = new Editor("a = |");
    void editor.ask();
    await settled();
    editor.job.write("foo");
    editor.type("x");
    const second = editor.ask();
    await settled();
    assert.equal(editor.jobs[0].aborted, true);
    editor.job.write("yz()").end();
    assert.equal(editor.accepted(await second), "a = xyz()");
  });
  it("begins anew where the work has not come so far", async () => {
    const editor = new Editor("a = |");
    void editor.ask();
    await settled();
    editor.job.write("f");
    editor.type("foo");
    void editor.ask();
    await settled();
    assert.deepEqual(
      editor.jobs.map(({ aborted, request }) => [aborted, Buffer.from(request.context).toString()]),
      [
        [true, "a = "],
        [false, "a = foo"],
      ],
    );
  });
  it("goes on where joined work ended before what was typed", async () => {
    const editor = new Editor("a = |");
    void editor.ask();
    await settled();
    editor.job.write("foo(barBa");
    editor.type("foo(ba");
    const second = editor.ask();
    await settled();
    editor.job.end("time");
    await settled();
    assert.equal(editor.jobs.length, 2);
    editor.job.write("r.baz);").end();
    assert.equal(editor.accepted(await second), "a = foo(bar.baz);");
  });
  it("lets work read on that has not written yet, and then sees what it writes", async () => {
    const editor = new Editor("a = |");
    void editor.ask();
    await settled();
    editor.type("x");
    const second = editor.ask();
    await settled();
    assert.deepEqual([editor.jobs.length, editor.job.aborted], [1, false]);
    editor.job.write("f");
    while (editor.jobs.length === 1) await settled();
    assert.deepEqual([editor.jobs[0].aborted, Buffer.from(editor.job.request.context).toString()], [true, "a = x"]);
    editor.job.write("yz()").end();
    assert.equal(editor.accepted(await second), "a = xyz()");
  });
  it("shows the words that are there when the line takes long, and goes on behind them", async () => {
    const editor = new Editor("a = |");
    const item = editor.ask();
    await settled();
    editor.job.write("foo(bar, ba");
    assert.equal(editor.accepted(await item), "a = foo(bar");
    editor.type("foo(");
    editor.job.write("z, qu");
    assert.equal(editor.accepted(await editor.ask()), "a = foo(bar, baz");
    editor.type("bar, ");
    editor.job.write("x);").end();
    await settled();
    assert.equal(editor.accepted(await editor.ask()), "a = foo(bar, baz, qux);");
    assert.equal(editor.jobs.length, 1);
  });
  it("does not ask a dropped piece of work again", async () => {
    const editor = new Editor("b;\na = |");
    void editor.ask();
    await settled();
    editor.type("c", 4);
    const item = editor.ask();
    await settled();
    editor.job.write("foo();").end();
    assert.equal(editor.accepted(await item), "b;\ncfoo();");
  });
  it("makes no item from work that an edit made stale", async () => {
    const editor = new Editor("b;\na = |");
    const first = editor.ask();
    await settled();
    editor.type("c", 4);
    assert.equal(editor.job.aborted, true);
    assert.equal(await first, null);
    assert.deepEqual(editor.reasons, ["cancelled"]);
  });
  it("leaves work alone when the text it does not continue changes", async () => {
    const editor = new Editor(`${"x;\n".repeat(200)}a = |\n`, { contextBytes: 256 });
    void editor.ask();
    await settled();
    Object.assign(editor, { cursor: 0 });
    editor.type("y");
    assert.equal(editor.job.aborted, false);
  });
  it("answers a cancelled request at once, and stops the work that nobody waits for", async () => {
    const editor = new Editor("a = |");
    const source = new CancellationTokenSource();
    const item = editor.ask({ token: source.token });
    await settled();
    source.cancel();
    assert.equal(await item, null);
    assert.equal(editor.job.aborted, false);
    assert.equal((await editor.job.done).end, "aborted");
  });
  it("waits for the next key before an automatic request", async () => {
    const editor = new Editor("const a|", { delay: 20 });
    const source = new CancellationTokenSource();
    const item = editor.ask({ token: source.token });
    source.cancel();
    assert.equal(await item, null);
    assert.equal(editor.jobs.length, 0);
    void editor.ask({ invoked: true });
    await settled();
    assert.equal(editor.jobs.length, 1);
  });
  it("does not wait where a new thought begins", async () => {
    for (const marked of ["foo.|", "foo(|", "{\n  |", "|"]) {
      const editor = new Editor(marked, { delay: 5000 });
      void editor.ask();
      await settled();
      assert.equal(editor.jobs.length, 1);
    }
  });
  it("says that the model is being loaded", async () => {
    const editor = new Editor("a = |");
    editor.state = { kind: "loading", fraction: 0.5 };
    const source = new CancellationTokenSource();
    const item = editor.ask({ token: source.token });
    await settled();
    source.cancel();
    await item;
    assert.deepEqual(editor.reasons, ["modelLoading"]);
  });
  it("says why the model does not work", async () => {
    const editor = new Editor("a = |");
    editor.state = { kind: "problem", sentence: "There is no folder /m." };
    const item = editor.ask();
    await settled();
    editor.job.end("failed");
    assert.equal(await item, null);
    assert.deepEqual([editor.reasons, editor.decisions[0].sentence], [["modelProblem"], "There is no folder /m."]);
  });
  it("begins with the completion selected in the editor's list", async () => {
    const editor = new Editor("a.fo|)");
    const range = { start: { line: 0, character: 2 }, end: { line: 0, character: 4 } };
    const item = editor.ask({ selected: { range, text: "forEach" } });
    await settled();
    assert.equal(Buffer.from(editor.job.request.context).toString(), "a.forEach");
    editor.job.write("((b) => b));").end();
    assert.equal(editor.accepted(await item), "a.forEach((b) => b));");
  });
  it("asks for several lines only where they are wanted", async () => {
    const editor = new Editor("a = |");
    void editor.ask();
    await settled();
    void editor.ask({ invoked: true });
    await settled();
    assert.deepEqual(
      editor.jobs.map(({ request }) => request.extent.kind),
      ["line", "block"],
    );
  });
  it("forgets what another model wrote", async () => {
    const editor = new Editor("a = |");
    const item = editor.ask();
    await settled();
    editor.job.write("foo();").end();
    await item;
    editor.completer.modelChanged();
    void editor.ask();
    await settled();
    assert.equal(editor.jobs.length, 2);
  });
});

describe("other suggestions where one was asked for by hand", () => {
  async function invoke(editor: Editor, text: string) {
    const asked = editor.ask({ invoked: true });
    await settled();
    editor.job.write(text).end();
    return (await asked)!;
  }

  it("are continuations of the same text, each once", async () => {
    const editor = new Editor("const total = |");
    const item = await invoke(editor, "sum(list);");
    const others = editor.completer.alternatives(item, new CancellationTokenSource().token);
    await settled();
    editor.job.write("count(list);").end();
    await settled();
    await settled();
    editor.job.write("sum(list);").end();
    assert.deepEqual(
      (await others).map(({ insertText }) => insertText),
      ["count(list);"],
    );
    assert.deepEqual(
      editor.jobs.map(({ request }) => request.alternative),
      [0, 1, 2],
    );
    assert.equal(new Set(editor.jobs.map(({ request }) => Buffer.from(request.context).toString())).size, 1);
  });

  it("have more time where one is shown already", async () => {
    const editor = new Editor("const total = |");
    const { token } = new CancellationTokenSource();
    const timeOfOthers = async (item: InlineCompletionItem) => {
      const before = editor.jobs.length;
      const others = editor.completer.alternatives(item, token);
      await settled();
      for (; editor.jobs.length < before + 2; await settled()) editor.job.write("sum(list);").end();
      editor.job.write("sum(list);").end();
      await others;
      return editor.jobs[before].request.timeLimitMs;
    };
    const first = await timeOfOthers(await invoke(editor, "sum(list);"));
    const again = await editor.ask({ invoked: true });
    assert.ok((await timeOfOthers(again!)) > 2 * first);
  });

  it("are not made when the editor asked by itself, after an edit, or when the request is cancelled", async () => {
    const editor = new Editor("const total = |");
    const asked = editor.ask();
    await settled();
    editor.job.write("sum(list);").end();
    const { token } = new CancellationTokenSource();
    assert.deepEqual(await editor.completer.alternatives((await asked)!, token), []);
    const other = new Editor("const total = |");
    const item = await invoke(other, "sum(list);");
    const cancelled = new CancellationTokenSource();
    cancelled.cancel();
    assert.deepEqual(await other.completer.alternatives(item, cancelled.token), []);
    other.type("x");
    assert.deepEqual(await other.completer.alternatives(item, token), []);
    assert.equal(other.jobs.length, 1);
  });
});

describe("work ahead of an acceptance", () => {
  it("is done while a suggestion is shown, and answers the next request", async () => {
    const editor = new Editor("const total = |\n", {}, true);
    const asked = editor.ask();
    await settled();
    editor.job.write("sum(list);").end();
    const item = (await asked)!;
    await settled();
    assert.equal(editor.jobs.length, 2);
    assert.equal(Buffer.from(editor.job.request.context).toString(), "const total = sum(list);");
    editor.job.write(" // of all").end();
    editor.type("sum(list);");
    const next = await editor.ask();
    assert.equal(next?.insertText, " // of all");
    assert.equal(item.insertText, "sum(list);");
    // And so on: the third is what follows that one.
    assert.equal(Buffer.from(editor.jobs[2].request.context).toString(), "const total = sum(list); // of all");
  });

  it("is ended by any other key", async () => {
    const editor = new Editor("const total = |\n", {}, true);
    const asked = editor.ask();
    await settled();
    editor.job.write("sum(list);").end();
    await asked;
    await settled();
    const ahead = editor.job;
    editor.type("q");
    assert.equal(ahead.aborted, true);
  });

  it("is not done where it may not be, as on battery", async () => {
    const editor = new Editor("const total = |\n");
    const asked = editor.ask();
    await settled();
    editor.job.write("sum(list);").end();
    await asked;
    await settled();
    assert.equal(editor.jobs.length, 1);
  });
});
