import assert from "node:assert/strict";
import type { Drafter } from "../../../model-runtime/generation/drafter";
import { generate } from "../../../model-runtime/generation/generate";
import { createSpeculation } from "../../../model-runtime/generation/speculate";
import { encode } from "../../../model-runtime/ids";
import type { TextState } from "../../../model-runtime/model/text-state";
import { CountsDrafter } from "../../../model-runtime/ngram/counts-drafter";
import { MixedModel } from "../../../model-runtime/ngram/mixed-model";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf } from "./samples";

const line = "export const speedOfLight = metresPerSecond(299792458);\n";
const costs = (byte: number, run = 0.3) => ({ draftCosts: { byte, run } }) as TextState;

describe("CountsDrafter", () => {
  const index = new WorkspaceIndex();
  index.set("a.ts", bytesOf(line.repeat(30)));
  const draft = (drafter: CountsDrafter, text: string, sequence = costs(0.02), most = 12) =>
    Buffer.from(drafter.draft({ text: bytesOf(text), continuation: {}, most, sequence })?.bytes ?? []).toString();

  it("proposes what the workspace and the text go on with, in whatever order texts come", () => {
    const drafter = new CountsDrafter(index);
    assert.equal(draft(drafter, "const speedOf"), "Light = metr");
    assert.equal(draft(drafter, "const speedOfLight = metresPerS"), "econd(299792");
    assert.equal(draft(drafter, "const speedOf"), "Light = metr");
    assert.equal(draft(drafter, "foo(bar, 1); foo(bar, 1); foo(bar", costs(0.02), 4), ", 1)");
    assert.equal(draft(new CountsDrafter(null), "const speedOf"), "");
  });

  it("proposes only as much as is worth what it costs", () => {
    const drafter = new CountsDrafter(index);
    assert.equal(draft(drafter, "const speedOf", costs(0.7)), "");
    assert.equal(draft(drafter, "const speedOf", costs(0.02, 40), 40), "");
    assert.ok(
      drafter.draft({ text: bytesOf("const speedOf"), continuation: {}, most: 12, sequence: costs(0.02) })!.gain > 3,
    );
  });

  it("proposes no more where its drafts were wrong, and more again where they are right", () => {
    const drafter = new CountsDrafter(index);
    const propose = () =>
      drafter.draft({ text: bytesOf("const speedOf"), continuation: {}, most: 12, sequence: costs(0.02) });
    const first = propose()!;
    for (let i = 0; i < 60; i++) first.learn(0, 1);
    assert.equal(propose(), null);
    for (let i = 0; i < 300; i++) first.learn(12, 0);
    assert.deepEqual(propose()!.bytes, first.bytes);
  });

  it("looks at no byte of a text twice while that is continued", async () => {
    let looks = 0;
    const counted = (text: Uint8Array) =>
      new Proxy(text, {
        get(bytes, key) {
          if (/^\d+$/.test(String(key))) looks++;
          return Reflect.get(bytes, key, bytes);
        },
      });
    const counts = new CountsDrafter(index);
    let drafts = 0;
    const drafter: Drafter = {
      name: "counts",
      draft(context) {
        drafts++;
        return counts.draft({ ...context, text: counted(context.text) });
      },
    };
    const prompt = bytesOf(`${"let other = 1;\n".repeat(1000)}export const sp`);
    const sequence = new MixedModel({ network: null, workspace: index }).createSequence();
    const written = generate(sequence, encode(prompt), {
      temperature: 0,
      maxBytes: 300,
      speculation: createSpeculation([drafter]),
    });
    let bytes = 0;
    for await (const _ of written) bytes++;
    assert.ok(drafts > 5 && bytes === 300, `${drafts} drafts, ${bytes} bytes`);
    // The first byte is compared with no text and then counted.
    assert.ok(looks <= 1 + prompt.length + bytes, `${looks} bytes of ${prompt.length + bytes}`);
  });

  it("changes how often the model is asked, never what is written", async () => {
    const written = async (speculation?: ReturnType<typeof createSpeculation>) => {
      const sequence = new MixedModel({ network: null, workspace: index }).createSequence();
      const options = { temperature: 0, maxBytes: 40, speculation };
      const bytes: number[] = [];
      for await (const { byte } of generate(sequence, encode(bytesOf("export const sp")), options)) bytes.push(byte);
      return Buffer.from(bytes).toString();
    };
    const speculation = createSpeculation([new CountsDrafter(index)]);
    assert.equal(await written(speculation), await written());
    const { accepted, runs } = speculation.counts;
    assert.ok(accepted > 20 && runs < 20, `${accepted} bytes accepted in ${runs} runs`);
  });
});
