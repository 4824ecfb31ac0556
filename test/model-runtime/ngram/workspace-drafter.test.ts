import assert from "node:assert/strict";
import { generate } from "../../../model-runtime/generation/generate";
import { createSpeculation } from "../../../model-runtime/generation/speculate";
import { encode } from "../../../model-runtime/ids";
import type { TextState } from "../../../model-runtime/model/text-state";
import { MixedModel } from "../../../model-runtime/ngram/mixed-model";
import { WorkspaceDrafter } from "../../../model-runtime/ngram/workspace-drafter";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf } from "./samples";

describe("WorkspaceDrafter", () => {
  const index = new WorkspaceIndex();
  index.set("a.ts", bytesOf("export const speedOfLight = metresPerSecond(299792458);\n".repeat(3)));
  const drafter = new WorkspaceDrafter(index);
  const draft = (text: string) => drafter.draft({ text: bytesOf(text), most: 8, sequence: {} as TextState });

  it("proposes what followed the longest context, stronger the longer that is", () => {
    const [short, long] = [draft("const speedOf"), draft("export const speedOfLight = metresPer")];
    assert.deepEqual(
      [short?.bytes, long?.bytes].map((bytes) => Buffer.from(bytes!).toString()),
      ["Light = ", "Second(2"],
    );
    assert.ok(short!.strength < long!.strength && long!.strength <= 15);
    assert.equal(draft("unknown words"), null);
  });

  it("changes how often the model is asked, never what is written", async () => {
    const written = async (speculation?: ReturnType<typeof createSpeculation>) => {
      const sequence = new MixedModel({ network: null, workspace: index }).createSequence();
      const options = { temperature: 0, maxBytes: 40, speculation };
      const bytes: number[] = [];
      for await (const { byte } of generate(sequence, encode(bytesOf("export const sp")), options)) bytes.push(byte);
      return Buffer.from(bytes).toString();
    };
    const speculation = createSpeculation([drafter]);
    assert.equal(await written(speculation), await written());
    const { accepted, runs } = speculation.counts;
    assert.ok(accepted > 20 && runs < 20, `${accepted} bytes accepted in ${runs} runs`);
  });
});
