import assert from "node:assert/strict";
import { CancellationTokenSource } from "vscode-languageserver/node";
import { Documents, MAX_DOCUMENT_LENGTH } from "../../server/documents";
import type { HostState } from "../../server/host-state";
import { Overlay } from "../../server/overlay";
import { LINES_NOTIFICATION, READING_NOTIFICATION, type ReadingState } from "../../server/overlay-protocol";
import type { ToReadings } from "../../server/readings-protocol";

const uri = "file:///a.ts";
const ready: HostState = {
  kind: "ready",
  device: "cpu",
  kernel: null,
  notice: null,
  adapter: null,
  adapterNotice: null,
};
const none = new CancellationTokenSource().token;

function setup(text = "ab\ncd", { state = ready as HostState, enabled = true } = {}) {
  const documents = new Documents();
  documents.didOpen({ textDocument: { uri, languageId: "x", version: 1, text } });
  const told: ToReadings[] = [];
  const notices: { method: string; params: ReadingState }[] = [];
  let woken = 0;
  const host = {
    state,
    wake: () => void woken++,
    tell(message: ToReadings) {
      if (host.state.kind !== "ready" && host.state.kind !== "working") return false;
      told.push(message);
      return true;
    },
  };
  const overlay = new Overlay({
    documents,
    host,
    isEnabled: () => enabled,
    notify: (method, params) => notices.push({ method, params: params as ReadingState }),
    lingerMs: 1,
  });
  const change = (version: number, inserted: string) => {
    const at = { line: 0, character: 0 };
    const params = {
      textDocument: { uri, version },
      contentChanges: [{ range: { start: at, end: at }, text: inserted }],
    };
    documents.didChange(params);
    overlay.documentChanged(params);
  };
  const becomes = (next: HostState) => {
    host.state = next;
    overlay.modelChanged(next);
  };
  const problems = () =>
    notices.filter(({ method }) => method === READING_NOTIFICATION).map(({ params }) => params.problem);
  return { documents, told, notices, host, overlay, change, becomes, problems, woken: () => woken };
}

const view = { uri, ranges: [{ from: 0, to: 2 }] };

describe("Overlay", () => {
  it("hands a text, what is in view of it and its changes to the model's thread, until nothing is in view", () => {
    const { overlay, told, change } = setup();
    change(2, "x");
    assert.deepEqual(told, []);
    overlay.watch(view);
    change(3, "y");
    overlay.watch({ uri, ranges: [] });
    change(4, "z");
    const at = { line: 0, character: 0 };
    assert.deepEqual(told, [
      { type: "openText", uri, text: "xab\ncd", version: 2 },
      { type: "watchText", uri, ranges: view.ranges, isMixed: false },
      { type: "changeText", uri, changes: [{ range: { start: at, end: at }, text: "y" }], version: 3 },
      { type: "closeText", uri },
    ]);
  });

  it("says whether the entropies with the workspace's counts are looked at, and asked for", () => {
    const { overlay, told } = setup();
    overlay.watch({ ...view, isMixed: true });
    void overlay.ask({ uri, isMixed: true }, "read", none);
    const watches = told.filter(({ type }) => type === "watchText") as { isMixed: boolean }[];
    assert.deepEqual([...new Set(watches.map(({ isMixed }) => isMixed))], [true]);
    const question = { kind: "read", uri, patienceMs: Number.POSITIVE_INFINITY, isMixed: true };
    assert.deepEqual(told.at(-1), { type: "ask", id: 1, question });
    overlay.watch(view);
    assert.deepEqual(told.at(-1), { type: "watchText", uri, ranges: view.ranges, isMixed: false });
  });

  it("passes lines on for what is looked at only", () => {
    const { overlay, notices } = setup();
    const lines = { type: "lines" as const, uri, version: 1, parts: [] };
    overlay.received(lines);
    overlay.watch(view);
    overlay.received(lines);
    assert.deepEqual(notices.filter(({ method }) => method === LINES_NOTIFICATION).length, 1);
  });

  it("says that the model is loading, and begins when it is loaded, again after it was loaded anew", () => {
    const { overlay, told, becomes, change, problems, woken } = setup("ab", {
      state: { kind: "loading", fraction: 0.4 },
    });
    overlay.watch(view);
    assert.deepEqual([told.length, woken()], [0, 1]);
    assert.match(problems()[0] ?? "", /still loading \(40 %\)/);
    becomes(ready);
    assert.deepEqual(
      told.map(({ type }) => type),
      ["openText", "watchText"],
    );
    assert.equal(problems().at(-1), null);
    const { length } = problems();
    becomes({ ...ready, kind: "working" });
    assert.equal(problems().length, length);
    becomes({ kind: "unloaded" });
    change(2, "x");
    assert.equal(woken(), 2);
    becomes(ready);
    assert.deepEqual(
      told.slice(2).map(({ type }) => type),
      ["openText", "watchText"],
    );
  });

  it("says why there is nothing to show", async () => {
    const cases: [ReturnType<typeof setup>, RegExp][] = [
      [setup("a\0b"), /binary file/],
      [setup("a".repeat(MAX_DOCUMENT_LENGTH + 1)), /up to 1,200,000 characters/],
      [setup("a", { enabled: false }), /switched off \(setting blt\.enable\)/],
      [setup("a", { state: { kind: "problem", sentence: "No model." } }), /^No model\.$/],
    ];
    for (const [{ overlay, problems }, pattern] of cases) {
      overlay.watch(view);
      assert.match(problems().at(-1) ?? "", pattern);
      const answer = await overlay.ask({ uri, position: { line: 0, character: 0 } }, "explain", none);
      assert.match("problem" in answer ? answer.problem : "", pattern);
    }
    const { overlay } = setup("");
    assert.deepEqual(await overlay.ask({ uri }, "read", none), {
      problem: "The file is empty: there is nothing to cut.",
    });
    const unknown = await overlay.ask({ uri: "file:///b" }, "read", none);
    assert.match("problem" in unknown ? unknown.problem : "", /not open in the editor/);
  });

  it("stops when a text becomes one that it does not read", () => {
    const { overlay, change, told, problems } = setup();
    overlay.watch(view);
    change(2, "\0");
    assert.match(problems().at(-1) ?? "", /binary/);
    assert.equal(told.at(-1)?.type, "closeText");
  });

  it("says what the model's thread cannot read", () => {
    const { overlay, problems } = setup();
    overlay.watch(view);
    overlay.received({ type: "unreadable", uri, problem: "It has no entropy model." });
    assert.equal(problems().at(-1), "It has no entropy model.");
  });

  it("answers questions, opens a text for them and closes it a while behind them", async () => {
    const { overlay, told } = setup();
    const asked = overlay.ask({ uri }, "read", none);
    assert.deepEqual(
      told.map(({ type }) => type),
      ["openText", "watchText", "watchText", "ask"],
    );
    overlay.received({ type: "answer", id: 1, answer: { text: "x" } });
    assert.deepEqual(await asked, { text: "x" });
    assert.ok(told.every(({ type }) => type !== "closeText"));
    while (told.at(-1)?.type !== "closeText") await new Promise((resolve) => setTimeout(resolve, 1));
  });

  it("asks again when the model is loaded anew meanwhile", async () => {
    const { overlay, told, becomes } = setup();
    const asked = overlay.ask({ uri }, "read", none);
    becomes({ kind: "loading", fraction: 0 });
    told.length = 0;
    becomes(ready);
    assert.ok(told.some(({ type }) => type === "openText"));
    assert.equal(told.at(-1)?.type, "ask");
    overlay.received({ type: "answer", id: 1, answer: { text: "x" } });
    await asked;
  });

  it("takes a question back when the editor does, also when the document is closed meanwhile", async () => {
    const { overlay, told } = setup();
    const source = new CancellationTokenSource();
    const asked = overlay.ask({ uri }, "read", source.token);
    overlay.documentClosed(uri);
    source.cancel();
    assert.deepEqual(await asked, { problem: "The request was taken back." });
    assert.ok(told.some(({ type }) => type === "withdraw"));
  });
});
