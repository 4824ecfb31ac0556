import assert from "node:assert/strict";
import { ForesightDrafter } from "../../../model-runtime/generation/foresight-drafter";
import type { TextState } from "../../../model-runtime/model/text-state";

/** A text that foresees these parts. */
function foreseeing(parts: { bytes: string; chance: number }[], byte = 0.2): TextState {
  return {
    draftCosts: { byte, run: 1 },
    foresee: async (_id: number, goOn: (chance: number, bytes: number) => boolean) => {
      const taken = [];
      for (const part of parts) {
        const bytes = Buffer.from(part.bytes);
        if (!goOn(part.chance, bytes.length)) break;
        if (bytes.length > 0) taken.push({ bytes, chance: part.chance });
      }
      return taken;
    },
  } as unknown as TextState;
}

const draft = async (drafter: ForesightDrafter, sequence: TextState, most = 48) =>
  drafter.draft({ sequence, most, text: Uint8Array.of(97), continuation: sequence });

const sure = (bytes: string) => ({ bytes, chance: 0.97 });

describe("drafts of what a model foresees", () => {
  it("end where their chance falls below what a row costs", async () => {
    const parts = [sure("const "), sure("value"), { bytes: " = ", chance: 0.02 }, sure("1")];
    const found = await draft(new ForesightDrafter(), foreseeing(parts));
    assert.equal(Buffer.from(found!.bytes).toString(), "const value");
    assert.ok(found!.gain > 0);
  });

  it("are shorter where rows are dear, and none where nothing is sure", async () => {
    const parts = Array.from({ length: 8 }, () => ({ bytes: "word", chance: 0.7 }));
    const [cheap, dear] = [
      await draft(new ForesightDrafter(), foreseeing(parts, 0.1)),
      await draft(new ForesightDrafter(), foreseeing(parts, 0.4)),
    ];
    assert.ok(cheap!.bytes.length > dear!.bytes.length);
    assert.equal(await draft(new ForesightDrafter(), foreseeing([{ bytes: "x", chance: 0.01 }])), null);
    assert.equal(await draft(new ForesightDrafter(), {} as TextState), null);
  });

  it("are none where it is not likely that the pieces have ended at all, and else begin behind these", async () => {
    const ended = (chance: number) => foreseeing([{ bytes: "", chance }, sure("const "), sure("value")], 0.1);
    assert.equal(await draft(new ForesightDrafter(), ended(0.3)), null);
    assert.equal(Buffer.from((await draft(new ForesightDrafter(), ended(0.9)))!.bytes).toString(), "const value");
  });

  it("are no longer than is wanted", async () => {
    const found = await draft(new ForesightDrafter(), foreseeing([sure("abc"), sure("def"), sure("ghi")]), 7);
    assert.equal(Buffer.from(found!.bytes).toString(), "abcdef");
  });

  it("become rarer when they turn out wrong, and come again when they are right", async () => {
    const drafter = new ForesightDrafter();
    const sequence = foreseeing([sure("abc"), sure("def")]);
    const before = drafter.usualGain;
    let count = 0;
    for (let found = await draft(drafter, sequence); found !== null && count < 200; count++) {
      found.learn(0, 1);
      found = await draft(drafter, sequence);
    }
    assert.ok(count < 200, `${count} wrong drafts`);
    assert.ok(drafter.usualGain < before);
  });
});
