import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import workerThreads, { type Worker } from "node:worker_threads";
import {
  assemble,
  atomic,
  define,
  drop,
  during,
  type I32,
  i32,
  MOST_PAGES,
  repeat,
  v128,
  when,
} from "../../../model-runtime/kernels/assembler";
import { ACTIVATION_BYTES, BLOCK_INPUTS, packedBlocks } from "../../../model-runtime/kernels/blocks";
import { PAGE_BYTES } from "../../../model-runtime/kernels/products";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import {
  MOST_PARTS,
  TEAM_BYTES,
  Team,
  type TeamFunctions,
  teamFunctions,
  wasmHelper,
} from "../../../model-runtime/kernels/team";

const parameters = { values: "i32", first: "i32", count: "i32" } as const;

/** A job that adds so much to the word of each of its parts, from the address of its arguments on. */
function adds(name: string, much: number) {
  return define(name, parameters, "none", ({ values, first, count }, local) => {
    const i = local("i32");
    const word = i32.add(values, i32.shl(i32.add(first, i), i32.const(2)));
    return [repeat(i, count, 1, drop(atomic.add(word, i32.const(much))))];
  });
}

/** Its arguments: threads in it, threads that are to be in it, how often to look for them, and parts that looked in vain. */
const meeting = define("meeting", parameters, "none", ({ values, count }, local) => {
  const [part, looks] = [local("i32"), local("i32")];
  const argument = (place: number): I32 => i32.add(values, i32.const(4 * place));
  const most = i32.load(argument(2));
  const areMissing = i32.less(atomic.load(argument(0)), i32.load(argument(1)));
  return [
    repeat(
      part,
      count,
      1,
      drop(atomic.add(argument(0), i32.const(1))),
      looks.set(i32.const(0)),
      during(i32.and(areMissing, i32.less(looks, most)), looks.set(i32.add(looks, i32.const(1)))),
      when(areMissing, drop(atomic.add(argument(3), i32.const(1)))),
    ),
  ];
});

/** Copies what the threads share to the address of its arguments. */
const watching = define("watching", parameters, "none", ({ values }) =>
  Array.from({ length: TEAM_BYTES / 16 }, (_, i) => v128.store(values, v128.load(i32.const(16 * i)), 16 * i)),
);

/** Writes how many parts a call has to the word of the first of them. */
const counting = define("counting", parameters, "none", ({ values, first, count }) => [
  i32.store(i32.add(values, i32.shl(first, i32.const(2))), count),
]);

/** A job of two parts, its argument the parts that have begun: who leads waits for the helper's, which takes long from then on. */
function lingering(isHelper: boolean) {
  return define("lingering", parameters, "none", ({ values, count }, local) => {
    const looks = local("i32");
    const isShared = i32.less(count, i32.const(2));
    const isMissing = i32.less(atomic.load(values), i32.const(2));
    return [
      drop(atomic.add(values, count)),
      isHelper
        ? repeat(looks, i32.const(LINGERING_LOOKS), 1, drop(atomic.load(values)))
        : when(isShared, during(isMissing)),
    ];
  });
}

/** Longer than the system lets one thread run while others wait, so that who leads looks meanwhile, also where all have one core. */
const LINGERING_LOOKS = 2 ** 25;

const jobsOf = (isHelper: boolean) => [
  adds("one", 1),
  adds("many", 1000),
  meeting,
  watching,
  counting,
  lingering(isHelper),
];
const jobs = jobsOf(false);
const amounts = [1, 1000];
const [MEETING, WATCHING, COUNTING, LINGERING] = [2, 3, 4, 5];
/** Looks for other threads: some seconds. */
const LONG = 2 ** 30;

/** What leads, and what helps it. */
interface Modules {
  lead: WebAssembly.Module;
  help: WebAssembly.Module;
}

function modulesOf(patience: number): Modules {
  const [lead, help] = [false, true].map(
    (isHelper) => new WebAssembly.Module(assemble([...jobsOf(isHelper), ...teamFunctions(jobs, patience)])),
  );
  return { lead, help };
}

/** More than one can look: all jobs are shared, however long other work on the machine keeps helpers amid their parts. */
const ENDLESS = 2 ** 32 - 1;
const patient = modulesOf(ENDLESS);
const withoutHelp: Modules = { lead: patient.lead, help: new WebAssembly.Module(assemble(jobs)) };

/** A team for the jobs above. */
class TestTeam {
  readonly team: Team;
  readonly words: Int32Array;
  private readonly expected: Int32Array;
  /** Words of jobs that are used in turns, each behind what the threads share. */
  private readonly areas = [0, 1, 2].map((area) => (TEAM_BYTES + 4 * area * AREA) / 4);
  private turn = 0;

  constructor(
    readonly helpers: number,
    { lead, help }: Modules = patient,
  ) {
    const bytes = TEAM_BYTES + 4 * 3 * AREA + TEAM_BYTES;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 2 ** 16), maximum: MOST_PAGES, shared: true });
    const { exports } = new WebAssembly.Instance(lead, { env: { memory } });
    this.words = new Int32Array(memory.buffer);
    this.expected = new Int32Array(3 * AREA);
    this.team = new Team(memory, exports as unknown as TeamFunctions, helpers, wasmHelper(help));
  }

  /** Runs a job, and fails unless each of its parts was done once and nothing else by then. */
  run(kind: number, parts: number, isSmall?: boolean): void {
    const area = this.turn++ % this.areas.length;
    this.team.run(kind, 4 * this.areas[area], parts, isSmall);
    const own = this.expected.subarray(area * AREA, (area + 1) * AREA);
    for (let part = 0; part < parts; part++) own[part] += amounts[kind];
    const found = this.words.subarray(this.areas[area], this.areas[area] + AREA);
    for (let i = 0; i < AREA; i++)
      if (found[i] !== own[i]) assert.fail(`${parts} parts of job ${kind}: part ${i} is ${found[i]}, not ${own[i]}`);
  }

  /** Fails unless what other jobs wrote has stayed as it is. */
  checkAll(): void {
    assert.deepEqual(this.words.slice(this.areas[0], this.areas[0] + this.expected.length), this.expected);
  }

  /** Whether so many threads are in a job at a time. */
  meet(threads: number, looks = LONG, isSmall?: boolean): boolean {
    const at = TEAM_BYTES / 4 + 3 * AREA;
    this.words.set([0, threads, looks, 0], at);
    this.team.run(MEETING, 4 * at, threads, isSmall);
    assert.equal(this.words[at], threads);
    return this.words[at + 3] === 0;
  }

  /** Runs a job; whether it was offered to the helpers, so that nobody took it all. */
  isShared(): boolean {
    const [at, parts] = [TEAM_BYTES / 4 + 3 * AREA, 20];
    const counts = this.words.subarray(at, at + parts).fill(0);
    this.team.run(COUNTING, 4 * at, parts);
    assert.equal(
      counts.reduce((sum, count) => sum + count),
      parts,
    );
    return counts[0] < parts;
  }

  /** Runs a job in which a helper stays for long. */
  linger(): void {
    const at = TEAM_BYTES / 4 + 3 * AREA;
    this.words[at] = 0;
    this.team.run(LINGERING, 4 * at, 2);
    assert.equal(this.words[at], 2);
  }

  /** What the threads share while a job of two parts is done. */
  watch(isSmall?: boolean): string {
    const at = TEAM_BYTES / 4 + 3 * AREA;
    this.team.run(WATCHING, 4 * at, 2, isSmall);
    return this.words.subarray(at, at + TEAM_BYTES / 4).join();
  }

  /** Begins as soon as all helpers sleep. */
  async wake(): Promise<void> {
    await wakeAll(this.team, this.helpers);
  }
}

/** Words of one job: more than several threads may share. */
const AREA = MOST_PARTS + 100;

/** Begins as soon as all of so many helpers sleep. */
async function wakeAll(team: Team, helpers: number): Promise<void> {
  for (let tries = 0; begin(team).woken < helpers; tries++) {
    team.end();
    assert.ok(tries < 5000, "helpers go to sleep");
    await setTimeout(2);
  }
}

/** Begins; how many helpers that woke, and what stands where they sleep. */
function begin(team: Team): { woken: number; value: number } {
  const { notify } = Atomics;
  const seen = { woken: 0, value: 0 };
  const watched = (array: Int32Array, index: number, count?: number) => {
    seen.value = array[index];
    seen.woken = notify(array, index, count);
    return seen.woken;
  };
  Object.assign(Atomics, { notify: watched });
  try {
    team.begin();
  } finally {
    Object.assign(Atomics, { notify });
  }
  return seen;
}

/** Whole numbers below an end. */
function numbers(seed: number): (end: number) => number {
  let state = seed >>> 0;
  return (end) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * end);
  };
}

describe("Team", () => {
  const teams: TestTeam[] = [];
  const teamOf = (helpers: number, modules?: Modules) => {
    const team = new TestTeam(helpers, modules);
    teams.push(team);
    return team;
  };

  afterEach(async () => {
    await Promise.all(teams.splice(0).map(({ team }) => team.release()));
  });

  for (const helpers of [1, 2])
    it(`lets ${helpers + 1} threads work on a job at a time`, async () => {
      const team = teamOf(helpers);
      assert.equal(team.team.threads, helpers + 1);
      await team.wake();
      assert.ok(team.meet(helpers + 1));
      assert.ok(team.meet(helpers + 1), "and on the next one");
      team.team.end();
    });

  it("leaves a small job, and one of a single part, to who leads", async () => {
    const team = teamOf(1);
    await team.wake();
    assert.ok(team.meet(2));
    // Others are not even told.
    assert.equal(team.watch(true), team.watch(true));
    const sizes = [1, 7, MOST_PARTS, 0];
    for (const parts of sizes) team.run(1, parts, true);
    team.run(0, 1);
    team.checkAll();
  });

  it("leaves a job of more parts than several threads can share to who leads", async () => {
    const team = teamOf(1);
    await team.wake();
    for (const parts of [MOST_PARTS + 1, MOST_PARTS + 2, MOST_PARTS + 3, AREA]) team.run(0, parts);
    team.run(1, MOST_PARTS);
    team.checkAll();
  });

  for (const helpers of [0, 1, 2])
    it(`does each part of every job once, one job after the other (threads: ${helpers + 1})`, async () => {
      const team = teamOf(helpers);
      await team.wake();
      const next = numbers(helpers);
      for (let job = 0; job < 4000; job++) {
        const most = [2, 10, 100, MOST_PARTS][next(4)];
        team.run(next(2), 1 + next(most), next(10) === 0);
      }
      for (const parts of [0, MOST_PARTS - 1, MOST_PARTS]) for (const kind of [0, 1]) team.run(kind, parts);
      team.team.end();
      team.checkAll();
    });

  it("does each part once of jobs of different lengths in quick succession", async () => {
    const team = teamOf(2);
    await team.wake();
    const next = numbers(6);
    const [at, rounds] = [TEAM_BYTES, 60_000];
    const counts = new Int32Array(AREA);
    for (let round = 0; round < rounds; round++) {
      const parts = round % 2 === 0 ? 2 + next(3) : 2 + next(400);
      team.team.run(0, at, parts);
      counts[parts - 1]++;
    }
    team.team.end();
    // A part is done by all jobs that have as many.
    for (let part = AREA - 2; part >= 0; part--) counts[part] += counts[part + 1];
    assert.deepEqual(team.words.slice(at / 4, at / 4 + AREA), counts);
  });

  it("lets no two jobs look the same to a helper, which might take the part of one for the other's", () => {
    const [team, count] = [teamOf(1, withoutHelp), 10_000];
    assert.equal(new Set(Array.from({ length: count }, () => team.watch())).size, count);
  });

  it("lets nobody sleep who was about to when it began", () => {
    const [{ team }, count] = [teamOf(1), 100];
    // Sleepers go on at once where something else stands than they saw.
    const values = Array.from({ length: count }, () => {
      const { value } = begin(team);
      team.end();
      return value;
    });
    assert.equal(new Set(values).size, count);
  });

  it("does each part once while helpers fall asleep, sleep and wake", async () => {
    const team = teamOf(2);
    await team.wake();
    const next = numbers(3);
    for (let round = 0; round < 300; round++) {
      for (let job = next(4); job >= 0; job--) team.run(next(2), 1 + next(40));
      team.team.end();
      // Up to about twice as long as helpers look for work before they sleep.
      for (let pause = next(20_000); pause > 0; pause--) Atomics.load(team.words, 0);
      team.team.begin();
      // Nobody has slept through it.
      if (round % 10 === 0) assert.ok(team.meet(3), `round ${round}`);
    }
    team.team.end();
    team.checkAll();
  });

  it("does each part once in jobs that begin when all helpers sleep", async () => {
    const team = teamOf(2);
    const next = numbers(4);
    for (let round = 0; round < 40; round++) {
      await team.wake();
      for (let job = 0; job < 10; job++) team.run(next(2), 1 + next(60));
      if (round % 4 === 0) assert.ok(team.meet(3), `round ${round}`);
      team.team.end();
    }
    team.checkAll();
  });

  it("leaves some jobs to who leads when a helper has been long amid a part, and then shares them again", async () => {
    const team = teamOf(1, modulesOf(100));
    await team.wake();
    let [tries, alone] = [0, 0];
    // Once more where the leader itself was stopped all the time.
    do {
      assert.ok(tries++ < 10, "it works alone");
      team.linger();
    } while (team.isShared());
    do alone++;
    while (!team.isShared() && alone < 100_000);
    assert.ok(alone >= 100 && alone < 100_000, `${alone} jobs`);
    team.team.end();
  });

  it("shares all jobs while its patience lasts", async () => {
    const team = teamOf(1);
    await team.wake();
    for (let round = 0; round < 10; round++) {
      team.linger();
      assert.ok(team.isShared());
    }
    team.team.end();
  });

  for (const helpers of [1, 2])
    it(`does each part of every job once where it works alone now and then (threads: ${helpers + 1})`, async () => {
      const team = teamOf(helpers, modulesOf(0));
      const next = numbers(8);
      await team.wake();
      for (let round = 0; round < 15; round++) {
        team.linger();
        // More or fewer than are done alone.
        for (let job = 200 + next(500); job >= 0; job--) team.run(next(2), 1 + next(60));
      }
      team.team.end();
      team.checkAll();
    });

  it("works while nobody has begun, and while helpers are starting", async () => {
    const team = teamOf(2);
    const next = numbers(5);
    for (let job = 0; job < 300; job++) team.run(next(2), 1 + next(60));
    team.team.begin();
    for (let round = 0; round < 50; round++) {
      for (let job = 0; job < 20; job++) team.run(next(2), 1 + next(60));
      await setTimeout(2);
    }
    team.team.end();
    team.checkAll();
  });

  for (const [when, before] of [
    ["they are starting", () => {}],
    [
      "they sleep",
      async (team: TestTeam) => {
        await team.wake();
        team.team.end();
        await setTimeout(20);
      },
    ],
    [
      "they look for work",
      async (team: TestTeam) => {
        await team.wake();
        team.run(0, 20);
      },
    ],
  ] as const)
    it(`releases helpers when ${when}, and does what comes without them`, async () => {
      const team = teamOf(2);
      await before(team);
      await team.team.release();
      team.team.begin();
      for (const parts of [1, 2, 50]) team.run(1, parts);
      assert.equal(team.meet(2, 1000), false);
      team.team.end();
      await team.team.release();
      team.checkAll();
    });

  it("does without helpers that stop as they start", async () => {
    const exits: Promise<unknown>[] = [];
    const onWorker = (worker: Worker) => exits.push(new Promise((resolve) => worker.once("exit", resolve)));
    process.on("worker", onWorker);
    const team = teamOf(2, withoutHelp);
    team.team.begin();
    for (const parts of [1, 2, 50]) team.run(1, parts);
    while (exits.length < 2) await setTimeout(2);
    process.off("worker", onWorker);
    await Promise.all(exits);
    for (const parts of [1, 2, 50]) team.run(1, parts);
    assert.equal(team.meet(2, 1000), false);
    team.team.end();
    team.checkAll();
  });

  for (const started of [0, 1])
    it(`does with ${started} of 2 helpers where the system has no more threads`, async () => {
      const { Worker: original } = workerThreads;
      let [asked, there] = [0, started];
      // As Node does it.
      class Limited extends original {
        constructor(...operands: ConstructorParameters<typeof original>) {
          asked++;
          if (there-- <= 0) throw Object.assign(new Error("EAGAIN"), { code: "ERR_WORKER_INIT_FAILED" });
          super(...operands);
        }
      }
      Object.assign(workerThreads, { Worker: Limited });
      let team: TestTeam;
      try {
        team = teamOf(2);
      } finally {
        Object.assign(workerThreads, { Worker: original });
      }
      assert.equal(asked, 2);
      assert.equal(team.team.threads, 1 + started);
      await wakeAll(team.team, started);
      assert.equal(team.meet(2, started === 1 ? LONG : 1000), started === 1);
      for (const parts of [1, 2, 50]) team.run(1, parts);
      team.team.end();
      team.checkAll();
    });
});

/** Sizes of products and of an attention that several threads share, none of which divides evenly. */
const [inputs, groups, groupsOfPart, positions, keyHeads, together, headDim] = [160, 40, 3, 208, 3, 5, 32];

/** A chain of jobs, each of which reads what the one before wrote, in a memory for so many threads. */
function chain(threads: number) {
  const memory = RowMemory.create(threads)!;
  const next = numbers(7);
  const random = (count: number) => memory.place(Float32Array.from({ length: count }, () => next(2001) / 1000 - 1));
  const [outputs, blocks, heads] = [4 * groups, inputs / BLOCK_INPUTS, keyHeads * together];
  const { streamBytes } = packedBlocks(outputs, inputs);
  const weights = memory.allocate(4 * streamBytes, PAGE_BYTES);
  memory.bytes(weights, 4 * streamBytes).set(Uint8Array.from({ length: 4 * streamBytes }, () => next(256)));
  const values = random(inputs);
  const x = memory.allocate(blocks * ACTIVATION_BYTES);
  // As wide as it is long, so that it can be multiplied again; and wide enough for queries.
  const made = memory.allocateFloats(outputs);
  const queries = memory.allocateFloats(heads * headDim);
  const attended = memory.allocateFloats(heads * headDim);
  const product = memory.job("multiplyBlocks", {
    x,
    rows: 1,
    weights,
    streamBytes,
    scales: random(outputs * blocks),
    out: made,
    outBytes: 4 * outputs,
    blocks,
    groups: groupsOfPart,
    allGroups: groups,
  });
  const stretch = 64;
  const stretches = Math.ceil(positions / stretch);
  const shared = {
    scores: memory.allocateFloats(heads * positions),
    scoreBytes: 4 * positions,
    positions,
    factors: memory.allocateFloats(heads),
    headBytes: 4 * positions * headDim,
    keyHeads,
    together,
    headDim,
  };
  const [keys, attendedTo] = [random(keyHeads * positions * headDim), random(keyHeads * positions * headDim)];
  const mask = memory.allocateFloats(positions);
  const score = memory.job("score", { ...shared, queries, keys, mask, stretches, stretch });
  const soften = memory.job("soften", shared);
  const strips = headDim / 16;
  const sum = memory.job("sum", { ...shared, values: attendedTo, out: attended, slots: positions, strips });
  const copy = (from: number, to: number, count: number) =>
    memory.floats.copyWithin(to / 4, from / 4, from / 4 + count);
  return {
    memory,
    step() {
      memory.kernels.quantizeBlocks(values, x, inputs);
      product.run(Math.ceil(groups / groupsOfPart));
      for (let head = 0; head < heads; head++)
        copy(made + 4 * ((8 * head) % 128), queries + 4 * head * headDim, headDim);
      score.run(keyHeads * stretches);
      soften.run(heads);
      sum.run(keyHeads * strips);
      for (let at = 0; at < inputs; at += headDim)
        copy(attended + 4 * (at % (heads * headDim)), values + 4 * at, headDim);
    },
    result: () => memory.bytes(values, 4 * inputs).slice(),
  };
}

describe("RowMemory with several threads", () => {
  const steps = 300;

  /** What each step gives. */
  const results: Uint8Array[] = [];

  before(() => {
    const { step, result } = chain(1);
    for (let i = 0; i < steps; i++) {
      step();
      results.push(result());
    }
    assert.ok(new Set(results.map(String)).size > steps / 2, "steps differ");
    assert.ok(new Float32Array(results.at(-1)!.buffer).every(Number.isFinite));
  });

  for (const threads of [2, 3])
    it(`gives the same bits with ${threads} threads as with one`, async () => {
      const { memory, step, result } = chain(threads);
      assert.equal(memory.team.threads, threads);
      await wakeAll(memory.team, threads - 1);
      for (let i = 0; i < steps; i++) {
        step();
        assert.deepEqual(result(), results[i], `step ${i}`);
        // Helpers see what grows while they are at work.
        if (i % 50 === 0) memory.allocate(2 ** 20);
      }
      memory.team.end();
      await memory.team.release();
    });

  it("gives the same bits where the memory grows while helpers work with it", async () => {
    const helpers = 2;
    const memory = RowMemory.create(helpers + 1)!;
    await wakeAll(memory.team, helpers);
    for (let i = 0; i < 40; i++) {
      const heads = 30;
      const scores = memory.place(new Float32Array(64 * heads).fill(i));
      memory.allocate(100_000);
      const factors = memory.allocateFloats(heads);
      memory.job("soften", { scores, scoreBytes: 256, positions: 64, factors }).run(heads);
      const found = memory.floats.subarray(factors / 4, factors / 4 + heads);
      assert.ok(found.every((factor) => factor === 1 / 64));
    }
    memory.team.end();
    await memory.team.release();
  });

  const source = JSON.stringify(resolve("model-runtime/kernels/row-kernels.ts"));
  const create = `const { RowMemory } = require(${source}); const memory = RowMemory.create(3);`;
  const whenStarted = (body: string) => `${create} setTimeout(() => { ${body} }, 400);`;
  for (const [title, script, expected] of [
    ["are starting", create, 0],
    ["sleep", whenStarted(""), 0],
    ["look for work", whenStarted("memory.team.begin();"), 0],
    ["sleep and the process is told to exit", whenStarted("process.exit(7);"), 7],
    ["look for work and the process is told to exit", whenStarted("memory.team.begin(); process.exit(7);"), 7],
    ["look for work and the process fails", whenStarted("memory.team.begin(); throw 1;"), 1],
  ] as const)
    it(`does not keep a process alive where helpers ${title}`, () => {
      const { status, signal, stderr } = spawnSync(process.execPath, ["-r", "tsx/cjs", "-e", script], {
        encoding: "utf8",
        timeout: 20_000,
      });
      assert.deepEqual({ status, signal }, { status: expected, signal: null }, stderr);
    });

  for (const [title, end, isTerminated] of [
    ["has nothing left to do", "", false],
    ["is terminated", "setInterval(() => {}, 1000);", true],
  ] as const)
    it(`ends with the thread that leads where that ${title}`, async () => {
      const script = `require("tsx/cjs"); ${whenStarted(`memory.team.begin(); require("node:worker_threads").parentPort.postMessage(""); ${end}`)}`;
      const leader = new workerThreads.Worker(script, { eval: true });
      const exit = once(leader, "exit");
      await once(leader, "message");
      if (isTerminated) leader.terminate();
      await exit;
    });
});
