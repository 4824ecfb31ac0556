import assert from "node:assert/strict";
import { DraftRecord } from "../../../model-runtime/generation/draft-record";

const costs = { byte: 0.2, run: 0.5 };

describe("a record of drafts", () => {
  it("believes strong drafts more, and what it has seen most", () => {
    const record = new DraftRecord();
    assert.ok(record.rate("prompt", 6) > record.rate("prompt", 1));
    for (let i = 0; i < 100; i++) record.learn("prompt", 1, { right: 20, wrong: 0 });
    assert.ok(record.rate("prompt", 1) > 0.95);
    assert.ok(record.rate("other", 1) < 0.8);
  });

  it("makes drafts longer the surer they are, and leaves out what is worth nothing", () => {
    const record = new DraftRecord();
    const [weak, strong] = [record.worth("prompt", 1, 48, costs), record.worth("prompt", 10, 48, costs)];
    assert.ok(weak.length > 0 && weak.length < strong.length && weak.gain < strong.gain);
    assert.equal(record.worth("prompt", 10, 3, costs).length, 3);
    for (let i = 0; i < 100; i++) record.learn("prompt", 1, { right: 0, wrong: 1 });
    assert.deepEqual(record.worth("prompt", 1, 48, costs), { length: 0, gain: 0 });
  });

  it("counts what reading costs", () => {
    const record = new DraftRecord();
    const cheap = record.worth("prompt", 3, 48, { byte: 0.05, run: 0.5 });
    const dear = record.worth("prompt", 3, 48, { byte: 0.4, run: 0.5 });
    assert.ok(cheap.length > dear.length && dear.length > 0);
    assert.equal(record.worth("prompt", 3, 48, { byte: 0.4, run: 3 }).length, 0);
  });

  it("forgets slowly what was long ago", () => {
    const record = new DraftRecord();
    for (let i = 0; i < 300; i++) record.learn("prompt", 2, { right: 10, wrong: 0 });
    const before = record.rate("prompt", 2);
    for (let i = 0; i < 300; i++) record.learn("prompt", 2, { right: 0, wrong: 1 });
    assert.ok(before > 0.95 && record.rate("prompt", 2) < 0.6);
  });
});
