import assert from "node:assert/strict";
import fc from "fast-check";
import { encode } from "../../model-runtime/ids";
import type { Blt } from "../../model-runtime/model/blt";
import { entropiesOf } from "../../model-runtime/model/entropy-model";
import { WorkspaceIndex } from "../../model-runtime/ngram/workspace-index";
import { PatchedBuffer } from "../../model-runtime/patching/patched-buffer";
import { explain } from "../../server/explain";
import { type Mix, MixedEntropies, SEEN_BYTES } from "../../server/mixed-entropies";
import { ReadText } from "../../server/read-text";
import { WorkspaceTexts } from "../../server/workspace-texts";
import { loadGolden } from "../helpers/golden";

describe("MixedEntropies", () => {
  let blt: Blt;
  before(async () => {
    blt = await loadGolden("k2", { patcher_window: 8 });
  });
  after(() => blt.release());

  /** What the entropy model says itself. */
  const itself: Mix = {
    version: 1,
    expect({ bytes, logits }, take) {
      assert.equal(logits.length, (bytes.length + 1) * 260);
      for (let row = 0; row <= bytes.length; row++)
        take(Float64Array.from(logits.subarray(row * 260, (row + 1) * 260)));
    },
  };

  function setup(text: Uint8Array, mix: Mix = itself) {
    const buffer = new PatchedBuffer(text, blt.patching, blt.patcher);
    return { buffer, mixed: new MixedEntropies(buffer, blt.patcher!, mix) };
  }

  async function settle(mixed: MixedEntropies, from: number, to: number): Promise<void> {
    while (!mixed.isSettled(from, to)) await mixed.step({ from, to });
  }

  const random = (length: number) => Uint8Array.from({ length }, (_, i) => 32 + ((i * i * 7 + i) % 90));

  it("asks about each place with the entropy model's own distribution there, after any edits", async () => {
    const step = fc.record({
      start: fc.nat(),
      deleted: fc.nat({ max: 30 }),
      inserted: fc.uint8Array({ maxLength: 30 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 700 }), fc.array(step, { maxLength: 4 }), fc.nat(), async (size, steps, view) => {
        const { buffer, mixed } = setup(random(size));
        for (const { start: at, deleted: count, inserted } of steps) {
          const start = at % (buffer.length + 1);
          const edit = { start, deleted: Math.min(count, buffer.length - start), inserted };
          buffer.edit(edit);
          const { from, to } = mixed.edited(edit);
          assert.ok(from <= start && to <= buffer.length + 1 && !mixed.isSettled(from, to));
          const seen = view % (buffer.length + 1);
          await settle(mixed, seen, Math.min(buffer.length + 1, seen + 100));
        }
        await settle(mixed, 0, buffer.length + 1);
        const expected = await entropiesOf(blt.patcher!, encode(buffer.bytes()), { patching: blt.patching });
        const found = mixed.entropies(0, buffer.length + 1);
        assert.equal(found.length, expected.length);
        for (const [i, entropy] of found.entries()) assert.ok(Math.abs(entropy - expected[i]) < 1e-4, `byte ${i}`);
      }),
      { numRuns: 20 },
    );
  });

  it("reads only what is asked for, with the bytes before it that count", async () => {
    const asked: { before: number; places: number }[] = [];
    const mix: Mix = {
      version: 1,
      expect(stretch, take) {
        asked.push({ before: stretch.before.length, places: stretch.bytes.length + 1 });
        itself.expect(stretch, take);
      },
    };
    const { mixed } = setup(random(1_000_000), mix);
    await settle(mixed, 500_000, 500_400);
    assert.ok(asked.every(({ before }) => before === SEEN_BYTES));
    assert.equal(
      asked.reduce((sum, { places }) => sum + places, 0),
      400,
    );
    assert.ok(!mixed.isSettled(499_999, 500_000) && !mixed.isSettled(500_400, 500_401));
    assert.ok(mixed.entropies(500_000, 500_400).every((entropy) => entropy >= 0));
  });

  it("forgets a reading that an edit made useless", async () => {
    const { buffer, mixed } = setup(random(50));
    const reading = mixed.step({ from: 0, to: 51 });
    const edit = { start: 10, deleted: 5, inserted: Uint8Array.of(1) };
    buffer.edit(edit);
    mixed.edited(edit);
    const { from, to } = await reading;
    assert.equal(from, to);
    assert.ok(mixed.entropies().every(Number.isNaN));
  });

  it("reads anew when the workspace has changed, and only then", async () => {
    const mix = { ...itself, version: 1 };
    const { buffer, mixed } = setup(random(50), mix);
    await settle(mixed, 0, 51);
    mixed.refresh();
    assert.ok(mixed.isSettled());
    mix.version = 2;
    mixed.refresh();
    assert.ok(!mixed.isSettled(0, 1));
    // What was known is shown until then.
    assert.ok(mixed.entropies(0, buffer.length).every((entropy) => entropy >= 0));
  });

  it("says the same as the hover", async () => {
    const texts = new WorkspaceTexts({ send: () => undefined, whenIdle: async () => undefined });
    assert.ok(texts.index instanceof WorkspaceIndex);
    texts.index.set("/b.ts", Buffer.from("const total = sum(items);\n".repeat(5)));
    const mix: Mix = { version: 1, expect: (stretch, take) => texts.expect("/a.ts", stretch, take) };
    const text = new ReadText("const total = sum(items);\nconst total", 1, blt.patching, blt.patcher);
    const mixed = text.mixWith(mix)!;
    await settle(mixed, 0, text.buffer.length + 1);
    for (const at of [0, 9, 26, text.buffer.length]) {
      const { bytes } = await explain(text, at, blt.patcher, undefined, mix);
      assert.ok(Math.abs(bytes[0].mixed!.entropy - mixed.entropies(at, at + 1)[0]) < 1e-4, `byte ${at}`);
    }
    await texts.close();
  });
});
