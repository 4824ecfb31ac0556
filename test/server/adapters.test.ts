import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../model-runtime/errors";
import { openModel } from "../../model-runtime/model/load-model";
import {
  adapterConfigName,
  adapterWeightsName,
  readAdapter,
  writeAdapter,
} from "../../model-runtime/training/adapter-file";
import { adapterBase } from "../../model-runtime/training/kit";
import { Adapters } from "../../server/adapters";
import { SHARED_ID } from "../../server/finetune-protocol";
import { useTemporaryFolder } from "../model-runtime/checkpoint/fixture";
import { randomAdapter } from "../model-runtime/training/adapter-fixture";

const model = openModel("test/golden/lexicon/blocks");
const base = adapterBase(model);
const layers = ["model.global_transformer.layers.1.q_proj"].map((name) => name.replace("q_proj", "self_attn.q_proj"));

describe("adapters of a workspace", () => {
  const path = useTemporaryFolder();
  const fits = () => null;

  /** As a run leaves it. */
  async function leave(folder: string): Promise<void> {
    await writeAdapter(folder, randomAdapter(model, layers), base);
    writeFileSync(join(folder, "report.json"), "{}");
  }

  it("say where nothing can be written", async () => {
    writeFileSync(path("file"), "");
    const sentence =
      /^UserError: .*file.storage cannot be written, as its folder is not there; choose another folder\.$/;
    await assert.rejects(new Adapters(path("file/storage")).choose(null), sentence);
    await assert.rejects(leave(path("file/storage")), sentence);
  });

  it("are taken over from a run, listed, used, exported and deleted", async () => {
    const adapters = new Adapters(path("storage"));
    assert.deepEqual(adapters.list(null, null, fits), []);
    assert.equal(adapters.adopt(), null);
    await leave(adapters.runFolder);
    const id = adapters.adopt()!;
    assert.equal(id, "2026-01-02T03-04-05");
    assert.deepEqual(readdirSync(adapters.runFolder), ["report.json"]);
    assert.equal(adapters.choice, undefined);
    await adapters.choose(id);
    assert.equal(new Adapters(path("storage")).choice, id);
    const [info] = adapters.list(adapters.folderOf(id), null, fits);
    assert.deepEqual(
      [info.files, info.heldOut, info.isInUse, info.problem],
      [12, { before: 0.8, after: 0.7 }, true, null],
    );
    assert.ok(info.sizeBytes > 1000);
    mkdirSync(path("out"));
    const out = adapters.export(id, path("out"));
    assert.ok(readAdapter(out, base).card !== null);
    assert.ok(!existsSync(join(out, "report.json")), "it names folders of this machine");
    assert.throws(() => adapters.export(id, path("out")), /exists already; choose another folder/);
    adapters.delete(id);
    assert.deepEqual([adapters.ids, adapters.choice], [[], undefined]);
    assert.throws(() => adapters.delete(id), /not there any more/);
  });

  it("have names of their own", async () => {
    const adapters = new Adapters(path("storage"));
    for (const expected of ["2026-01-02T03-04-05", "2026-01-02T03-04-05-2"]) {
      await leave(adapters.runFolder);
      assert.equal(adapters.adopt(), expected);
    }
  });

  it("can be chosen away, and the one of the settings can be chosen", async () => {
    const adapters = new Adapters(path("storage"));
    await adapters.choose(null);
    assert.equal(adapters.choice, null);
    await adapters.choose(SHARED_ID);
    assert.equal(adapters.choice, SHARED_ID);
    await assert.rejects(adapters.choose("../elsewhere"), UserError);
    writeFileSync(path("storage/in-use.json"), "not JSON");
    assert.equal(adapters.choice, undefined);
    await leave(path("shared"));
    const [shared] = adapters.list(path("shared"), path("shared"), () => "no");
    assert.deepEqual([shared.id, shared.isInUse, shared.problem], [SHARED_ID, true, "no"]);
  });

  it("are imported when they fit the model, and leave nothing when they do not", async () => {
    const adapters = new Adapters(path("storage"));
    await leave(path("from"));
    const id = adapters.import(path("from"), base);
    assert.deepEqual(adapters.ids, [id]);
    const other = adapterBase(openModel("test/golden/lexicon/plain"));
    assert.throws(() => adapters.import(path("from"), other), /was trained on another model/);
    assert.throws(() => adapters.import(path("nowhere"), base), /holds no adapter/);
    rmSync(path("from", adapterWeightsName));
    assert.throws(() => adapters.import(path("from"), base), UserError);
    assert.deepEqual(adapters.ids, [id]);
  });

  it("that are half copied are none", async () => {
    const adapters = new Adapters(path("storage"));
    await leave(path("storage/adapters/2026-01-01T00-00-00.partial"));
    mkdirSync(path("storage/adapters/2026-01-02T00-00-00"));
    assert.deepEqual(adapters.ids, []);
    await leave(path("storage/adapters/2026-01-03T00-00-00"));
    writeFileSync(path("storage/adapters/2026-01-03T00-00-00/blt_adapter.json"), "{");
    assert.match(adapters.list(null, null, fits)[0].problem!, /blt_adapter\.json/);
    assert.ok(existsSync(path("storage/adapters/2026-01-03T00-00-00", adapterConfigName)));
  });
});
