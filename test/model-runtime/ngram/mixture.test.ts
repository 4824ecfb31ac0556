import assert from "node:assert/strict";
import fc from "fast-check";
import { SYMBOLS } from "../../../model-runtime/ngram/chains";
import type { History } from "../../../model-runtime/ngram/history";
import { INTERPOLATION_WEIGHTS } from "../../../model-runtime/ngram/interpolation";
import {
  initialMixtureWeights,
  learningRates,
  MIXTURE_WEIGHTS,
  Mixture,
  stepped,
} from "../../../model-runtime/ngram/mixture";
import { defaultMixtureWeights } from "../../../model-runtime/ngram/mixture-weights";
import { WorkspaceIndex } from "../../../model-runtime/ngram/workspace-index";
import { bytesOf, historyOf } from "./samples";

describe("Mixture", () => {
  const workspace = new WorkspaceIndex();
  workspace.set(
    "a.ts",
    bytesOf("export function parseHeader(text: string): Header {\n  return decode(text);\n}\n".repeat(3)),
  );
  workspace.set("b.py", bytesOf("def parse_header(text):\n    return decode(text)\n"));

  const total = (logProbs: Float64Array) => logProbs.reduce((sum, log) => sum + Math.exp(log), 0);
  const isDistribution = (logProbs: Float64Array) =>
    Math.abs(total(logProbs) - 1) < 1e-9 && logProbs.every((log) => Number.isFinite(log) && log < 1e-9);
  const flat = new Float64Array(SYMBOLS);
  const logOf = (history: History, symbol: string, network: Float64Array | null) =>
    new Mixture(workspace).predict(history, network, defaultMixtureWeights())[symbol.charCodeAt(0)];

  it("is a distribution over 256 bytes and the end after every context, with and without a network", () => {
    const mixture = new Mixture(workspace);
    const weights = defaultMixtureWeights();
    const text = fc.array(
      fc.oneof(fc.constantFrom("parse", "Header", "(text)", "\n  ", "return"), fc.string({ unit: "binary" })),
    );
    const sharp = fc.array(fc.double({ min: -60, max: 60, noNaN: true }), { minLength: SYMBOLS, maxLength: SYMBOLS });
    fc.assert(
      fc.property(text, sharp, (parts, logits) => {
        const history = historyOf(parts.join(""));
        assert.ok(isDistribution(mixture.predict(history, null, weights)));
        assert.ok(isDistribution(mixture.predict(history, logits, weights)));
        assert.ok(isDistribution(mixture.predict(history, flat, weights)));
      }),
      { numRuns: 300 },
    );
  });

  it("stays one, and never NaN, with whatever weights and whatever it learns", () => {
    const extreme = new Float32Array(MIXTURE_WEIGHTS);
    for (let i = 0; i < extreme.length; i++) extreme[i] = [-8, 8, 2, -0.5][i % 4];
    const mixture = new Mixture(workspace);
    const certain = new Float64Array(SYMBOLS).fill(-1e4);
    certain[65] = 0;
    const history = historyOf("");
    for (const byte of bytesOf("export function parseHeader(text: string)".repeat(20))) {
      assert.ok(isDistribution(mixture.predict(history, certain, extreme)));
      mixture.learn(byte, (index, slope) => {
        extreme[index] = stepped(index, extreme[index], slope, { interpolation: 1, exponents: 1 });
        assert.ok(Math.abs(extreme[index]) <= 8);
      });
      history.push(byte + 4);
    }
  });

  it("knows what the workspace says, and leaves the rest to the network", () => {
    const seen = historyOf("export function parseHeader(te");
    assert.ok(logOf(seen, "x", flat) > Math.log(0.9));
    assert.ok(logOf(seen, "x", null) > Math.log(0.9));
    const unseen = historyOf("zq%");
    const sure = Float64Array.from({ length: SYMBOLS }, (_, s) => (s === 64 ? 6 : 0));
    const alone = Math.exp(6) / (Math.exp(6) + SYMBOLS - 1);
    assert.ok(Math.exp(logOf(unseen, "@", sure)) > 0.7 * alone);
  });

  it("expects the end where texts ended", () => {
    const logProbs = new Mixture(workspace).predict(
      historyOf("    return decode(text)\n"),
      null,
      defaultMixtureWeights(),
    );
    assert.ok(logProbs[256] > Math.log(0.3), String(Math.exp(logProbs[256])));
  });

  it("makes what came more probable by learning it", () => {
    for (const network of [null, flat]) {
      const mixture = new Mixture(workspace);
      const weights = initialMixtureWeights();
      const history = historyOf("  return dec");
      const before = mixture.predict(history, network, weights)["z".charCodeAt(0)];
      for (let i = 0; i < 30; i++) {
        mixture.predict(history, network, weights);
        mixture.learn("z".charCodeAt(0), (index, slope) => {
          weights[index] = stepped(index, weights[index], slope, learningRates);
        });
      }
      assert.ok(mixture.predict(history, network, weights)["z".charCodeAt(0)] > before + 0.1);
    }
  });

  it("follows the gradient of the coding cost", () => {
    const symbol = "o".charCodeAt(0);
    const network = Float64Array.from({ length: SYMBOLS }, (_, s) => Math.sin(s));
    const history = historyOf("export function parseHeader(text) { return dec");
    const weights = initialMixtureWeights();
    const mixture = new Mixture(workspace);
    mixture.predict(history, network, weights);
    const slopes = new Map<number, number>();
    mixture.learn(symbol, (index, slope) => slopes.set(index, slope));
    const logAt = (index: number, by: number, from: Float64Array | null) => {
      const changed = weights.slice();
      changed[index] += by;
      return new Mixture(workspace).predict(history, from, changed)[symbol];
    };
    const isOfCounts = (index: number) => index >= INTERPOLATION_WEIGHTS && index < 2 * INTERPOLATION_WEIGHTS;
    const exponents = [...slopes].filter(([index]) => index >= 2 * INTERPOLATION_WEIGHTS);
    const counted = [...slopes].filter(([index]) => isOfCounts(index));
    assert.equal(exponents.length, 3);
    assert.ok(counted.length >= 3, String(counted.length));
    // What is learned of the counts is what makes the counts alone better.
    for (const [index, slope] of [...exponents, ...counted]) {
      const from = isOfCounts(index) ? null : network;
      const expected = (logAt(index, 1e-2, from) - logAt(index, -1e-2, from)) / 2e-2;
      assert.ok(Math.abs(slope - expected) < 2e-2, `weight ${index}: ${slope} and ${expected}`);
    }
  });

  it("works in an empty workspace, and in none", () => {
    for (const empty of [new WorkspaceIndex(), null]) {
      const mixture = new Mixture(empty);
      assert.ok(isDistribution(mixture.predict(historyOf(""), null, defaultMixtureWeights())));
      assert.ok(isDistribution(mixture.predict(historyOf("abcabcabcabc"), flat, defaultMixtureWeights())));
    }
  });

  it("sees a change of the workspace at once", () => {
    const changing = new WorkspaceIndex();
    const mixture = new Mixture(changing);
    const history = historyOf("newName");
    const of = () => Math.exp(mixture.predict(history, flat, defaultMixtureWeights())["X".charCodeAt(0)]);
    const before = of();
    changing.set("a", bytesOf("newNameX newNameX"));
    assert.ok(of() > 10 * before);
    changing.remove("a");
    assert.ok(Math.abs(of() - before) < 1e-12);
  });
});
