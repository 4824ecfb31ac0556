import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { generate } from "../../../model-runtime/generation/generate";
import { encode } from "../../../model-runtime/ids";
import { goldenDirectory, loadGolden } from "../../helpers/golden";
import { useTemporaryFolder } from "../checkpoint/fixture";
import { useCli } from "./cli";

const model = ["--model", goldenDirectory("k2")];

describe("blt generate", () => {
  const cli = useCli();
  const path = useTemporaryFolder();

  it("gives bytes, what the model thought of them, and why it ended", async () => {
    const blt = await loadGolden("k2");
    const sampling = { temperature: 0.9, topK: 40, topP: 0.95, minP: 0.01, repetitionPenalty: 1.2, seed: 7 };
    const expected: number[] = [];
    const options = { ...sampling, maxBytes: 24 };
    for await (const { byte } of generate(blt.createSequence(), encode(Buffer.from("Hello")), options))
      expected.push(byte);
    await blt.release();
    const flags = ["--temperature", "0.9", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.01"];
    const more = ["--repetition-penalty", "1.2", "--seed", "7", "--max-bytes", "24"];
    const result = await cli.json(["generate", "Hello", ...model, ...flags, ...more]);
    assert.deepEqual(Object.keys(result), ["text", "bytes", "end", "logProbs", "entropies"]);
    assert.deepEqual([result.bytes, result.end], [expected, "length"]);
    assert.deepEqual([result.logProbs.length, result.entropies.length], [24, 24]);
    assert.ok(result.logProbs.every((logProb: number) => logProb < 0));
    assert.ok(result.entropies.every((entropy: number) => entropy > 0 && entropy < Math.log(260)));
  });

  it("writes the text alone, and only whole characters of it", async () => {
    const args = ["generate", "Hello", ...model, "--max-bytes", "60"];
    const { text, bytes } = await cli.json(args);
    const { stdout, stderr, code } = await cli.run(args);
    assert.deepEqual([stdout, stderr, code], [text, "", 0]);
    assert.equal(bytes.length, 60);
    const decoded = new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes), { stream: true });
    assert.equal(text, decoded);
  });

  it("reads the prompt from an argument, a file or stdin", async () => {
    writeFileSync(path("prompt"), "Hello");
    const { stdout } = await cli.run(["generate", "Hello", ...model, "--max-bytes", "9"]);
    const fromFile = await cli.run(["generate", "--prompt-file", path("prompt"), ...model, "--max-bytes", "9"]);
    const fromStdin = await cli.run(["generate", "-", ...model, "--max-bytes", "9"], { input: "Hello" });
    assert.notEqual(stdout, "");
    assert.deepEqual([fromFile.stdout, fromStdin.stdout], [stdout, stdout]);
    const { bytes } = await cli.json(["generate", "", ...model, "--max-bytes", "9"]);
    assert.equal(bytes.length, 9);
  });

  it("ends before a stop text, escapes read", async () => {
    const whole = await cli.json(["generate", "Hello", ...model, "--max-bytes", "20"]);
    const hex = whole.bytes.slice(10, 12).map((byte: number) => `\\x${byte.toString(16).padStart(2, "0")}`);
    const args = ["generate", "Hello", ...model, "--stop", "never this", "--stop", hex.join("")];
    const { bytes, end } = await cli.json([...args, "--max-bytes", "20"]);
    assert.deepEqual([bytes, end], [whole.bytes.slice(0, 10), "stop"]);
  });

  it("searches for the most probable text", async () => {
    const { text, bytes, end, logProb, ...rest } = await cli.json([
      "generate",
      "A",
      ...model,
      "--beam",
      "3",
      "--max-bytes",
      "4",
    ]);
    assert.deepEqual([bytes.length, end, rest], [4, "length", {}]);
    const { stdout } = await cli.run(["generate", "A", ...model, "--beam", "3", "--max-bytes", "4"]);
    const greedy = await cli.json(["generate", "A", ...model, "--max-bytes", "4"]);
    assert.equal(stdout, text);
    assert.ok(logProb >= greedy.logProbs.reduce((sum: number, one: number) => sum + one, 0) - 1e-4);
  });

  const refused: [string[], RegExp][] = [
    [[], /Give either PROMPT \(or - for stdin\) or --prompt-file FILE/],
    [["a", "--prompt-file", "b"], /Give either PROMPT/],
    [["--prompt-file", "/nowhere/b"], /There is no file \/nowhere\/b/],
    [["-"], /stdin is empty; the prompt "" begins a new text/],
    [["a", "--max-bytes", "0"], /--max-bytes must be a whole number of at least 1/],
    [["a", "--temperature", "-1"], /temperature must be a number of at least 0/],
    [["a", "--top-p", "1.5"], /top-p must be above 0 and at most 1/],
    [["a", "--min-p", "2"], /min-p must be from 0 to 1/],
    [["a", "--top-k", "0"], /--top-k must be/],
    [["a", "--repetition-penalty", "0"], /repetition penalty/],
    [["a", "--seed", "5000000000"], /seed must be a whole number from 0 to 4294967295/],
    [["a", "--stop", ""], /stop string is empty/],
    [["a", "--beam", "2", "--temperature", "1"], /--beam draws no bytes; leave out --temperature or --beam/],
  ];
  for (const [args, message] of refused) {
    it(`refuses ${args.join(" ") || "no prompt"}`, () => cli.refused(["generate", ...args, ...model], message));
  }
});
