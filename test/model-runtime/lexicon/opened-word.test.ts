import assert from "node:assert/strict";
import { OpenedWord } from "../../../model-runtime/lexicon/opened-word";
import { PieceText } from "../../../model-runtime/lexicon/piece-text";
import { bytesOf, goldenByteModel, HashLatent, hashParts } from "./lexicon-samples";

/** A latent that remembers after which paths it was asked. */
class RecordingLatent extends HashLatent {
  readonly paths: number[][] = [];

  override ask(path: Int32Array, signal?: AbortSignal): Promise<Float64Array> {
    this.paths.push(Array.from(path));
    return super.ask(path, signal);
  }
}

async function openedIn(bytes: Uint8Array) {
  const latent = new RecordingLatent();
  const parts = hashParts({}, 512, latent);
  const text = new PieceText(parts);
  for (const byte of bytes) text.append(byte);
  const rows = await goldenByteModel().after(text.bytes, 0, text.length);
  const opened = await OpenedWord.open(parts, text, text.openPlace);
  return { latent, text, rows, opened };
}

describe("OpenedWord", () => {
  it("asks when it is opened, after the longest path of its own pieces first", async () => {
    const { latent, opened } = await openedIn(bytesOf(`const${" ".repeat(9)}`));
    assert.ok(opened.cut.length > 0);
    const lengths = latent.paths.map((path) => path.length);
    assert.deepEqual(
      lengths,
      lengths.map((_, i) => lengths[0] - i),
    );
    assert.deepEqual(latent.paths[0].slice(-opened.cut.length), opened.cut);
    assert.equal(opened.read, opened.place.opened);
  });

  it("asks again after each piece that has probably ended, until none is left", async () => {
    const { latent, text, rows, opened } = await openedIn(bytesOf("const value"));
    const alone = opened.fork();
    const asked = latent.paths.length;
    let stale = 0;
    while (opened.read < text.length) {
      await opened.write(text, rows[opened.read]);
      assert.equal(opened.word.stale(), null);
    }
    assert.ok(latent.paths.length > asked);
    const afterwards = latent.paths.length;
    while (alone.read < text.length) {
      alone.writeAlone(text, rows[alone.read]);
      if (alone.word.stale() !== null) stale++;
    }
    assert.ok(stale > 0);
    assert.equal(latent.paths.length, afterwards);
  });

  it("keeps what a copy does to itself", async () => {
    const { text, rows, opened } = await openedIn(bytesOf("const value"));
    const before = opened.word.distribution(rows[opened.read]);
    const copy = opened.fork();
    await copy.write(text, rows[copy.read]);
    assert.equal(copy.read, opened.read + 1);
    assert.deepEqual(opened.word.distribution(rows[opened.read]), before);
  });

  it("stops where it is told to before the latent is asked", async () => {
    const parts = hashParts();
    const text = new PieceText(parts);
    const aborted = AbortSignal.abort(new Error("enough"));
    await assert.rejects(OpenedWord.open(parts, text, text.openPlace, aborted), /enough/);
  });
});
