import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import workerThreads, { type Worker } from "node:worker_threads";
import { toHalf } from "../../../model-runtime/checkpoint/half";
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
import { nativeKernels, nativeKernelsFile } from "../../../model-runtime/kernels/native";
import {
  floatBits,
  MOST_QUERIES,
  NATIVE_ACTIVATION_BYTES,
  type NativeJobArgument,
  type NativeJobName,
  nativeBlocksBytes,
  nativeJobArguments,
  nativeJobNames,
  packNativeBlocks,
} from "../../../model-runtime/kernels/native-jobs";
import { PAGE_BYTES } from "../../../model-runtime/kernels/products";
import { RowMemory } from "../../../model-runtime/kernels/row-kernels";
import {
  type HelperProgram,
  MOST_PARTS,
  nativeHelper,
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

/** A team whose jobs count how often each of their parts is done. */
abstract class TestTeam {
  abstract readonly team: Team;
  private readonly expected = Array.from({ length: AREAS }, () => new Int32Array(AREA));
  private turn = 0;

  constructor(readonly helpers: number) {}

  /** Runs a job of a kind, which adds 1 or 1000 to what each of its parts has in an area. */
  protected abstract add(kind: number, area: number, parts: number, isSmall?: boolean): void;

  /** What a part has in an area. */
  protected abstract sumOf(area: number, part: number): number;

  /** Whether so many threads work on a job at a time; `looks` is how long they wait for each other. */
  abstract meet(threads: number, looks?: number, isSmall?: boolean): boolean;

  /** What the threads share while a job of two parts is done, or behind it. */
  abstract watch(isSmall?: boolean): string;

  /** Runs a job, and fails unless each of its parts was done once and nothing else by then. */
  run(kind: number, parts: number, isSmall?: boolean): void {
    const area = this.turn++ % AREAS;
    this.add(kind, area, parts, isSmall);
    const own = this.expected[area];
    for (let part = 0; part < parts; part++) own[part] += amounts[kind];
    for (let part = 0; part < AREA; part++) {
      const found = this.sumOf(area, part);
      if (found !== own[part]) assert.fail(`${parts} parts of job ${kind}: part ${part} is ${found}, not ${own[part]}`);
    }
  }

  /** Runs jobs of so many parts one directly behind the other, which add 1. */
  runAll(counts: readonly number[]): void {
    const jobs = new Int32Array(AREA);
    for (const parts of counts) {
      this.add(0, 0, parts);
      jobs[parts - 1]++;
    }
    // A part is done by all jobs that have as many.
    for (let part = AREA - 1, all = 0; part >= 0; part--) this.expected[0][part] += all += jobs[part];
  }

  /** Fails unless what other jobs wrote has stayed as it is. */
  checkAll(): void {
    this.expected.forEach((own, area) => {
      assert.deepEqual(
        Int32Array.from(own, (_, part) => this.sumOf(area, part)),
        own,
      );
    });
  }

  /** Begins as soon as all helpers sleep. */
  async wake(): Promise<void> {
    await wakeAll(this.team, this.helpers);
  }
}

/** A team for the jobs above. */
class WasmTeam extends TestTeam {
  readonly team: Team;
  private readonly words: Int32Array;
  /** Words of jobs that are used in turns, each behind what the threads share. */
  private readonly areas = Array.from({ length: AREAS }, (_, area) => (TEAM_BYTES + 4 * area * AREA) / 4);

  constructor(helpers: number, { lead, help }: Modules = patient) {
    super(helpers);
    const bytes = TEAM_BYTES + 4 * AREAS * AREA + TEAM_BYTES;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 2 ** 16), maximum: MOST_PAGES, shared: true });
    const { exports } = new WebAssembly.Instance(lead, { env: { memory } });
    this.words = new Int32Array(memory.buffer);
    this.team = new Team(memory, exports as unknown as TeamFunctions, helpers, wasmHelper(help));
  }

  protected add(kind: number, area: number, parts: number, isSmall?: boolean): void {
    this.team.run(kind, 4 * this.areas[area], parts, isSmall);
  }

  protected sumOf(area: number, part: number): number {
    return this.words[this.areas[area] + part];
  }

  meet(threads: number, looks = LONG, isSmall?: boolean): boolean {
    const at = TEAM_BYTES / 4 + AREAS * AREA;
    this.words.set([0, threads, looks, 0], at);
    this.team.run(MEETING, 4 * at, threads, isSmall);
    assert.equal(this.words[at], threads);
    return this.words[at + 3] === 0;
  }

  /** Runs a job; whether it was offered to the helpers, so that nobody took it all. */
  isShared(): boolean {
    const [at, parts] = [TEAM_BYTES / 4 + AREAS * AREA, 20];
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
    const at = TEAM_BYTES / 4 + AREAS * AREA;
    this.words[at] = 0;
    this.team.run(LINGERING, 4 * at, 2);
    assert.equal(this.words[at], 2);
  }

  watch(isSmall?: boolean): string {
    const at = TEAM_BYTES / 4 + AREAS * AREA;
    this.team.run(WATCHING, 4 * at, 2, isSmall);
    return this.words.subarray(at, at + TEAM_BYTES / 4).join();
  }
}

/** A row of the native jobs. */
const WIDTH = 16;
/** Queries of a thread and their scores. */
const SCRATCH_BYTES = 4 * 2 * WIDTH * MOST_QUERIES;

/** A team that runs native jobs: rows are added to, and attended to where it is to be seen which thread does a part. */
class NativeTeam extends TestTeam {
  readonly team: Team;
  private readonly floats: Float32Array;
  private readonly words: Int32Array;
  private used = TEAM_BYTES;
  /** Address of the first row of each area, and of one more. */
  private readonly areas = Array.from({ length: AREAS + 1 }, () => this.allocate(4 * WIDTH * AREA));
  private readonly adds: number[][];
  /** Scores of each thread, and how many parts the attention has. */
  private readonly scratch = this.allocate(SCRATCH_BYTES * MOST_THREADS);
  private readonly attended = this.allocate(4 * WIDTH * ATTENDED);
  private readonly attend: number;
  private readonly multiply: number;

  constructor(helpers: number, helper: HelperProgram = nativeHelper(nativeKernelsFile()!)) {
    super(helpers);
    const initial = Math.ceil((this.used + 2 ** 21) / 2 ** 16);
    const memory = new WebAssembly.Memory({ initial, maximum: MOST_PAGES, shared: true });
    this.floats = new Float32Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    const { memoryOf, lead } = nativeKernels()!;
    const address = memoryOf(new Uint8Array(memory.buffer));
    const functions: TeamFunctions = {
      doAlone: (kind, values, parts) => lead(address, kind, values, parts, 1),
      lead: (kind, values, parts) => lead(address, kind, values, parts, 0),
    };
    this.team = new Team(memory, functions, helpers, helper);
    this.adds = amounts.map((much) => {
      const y = this.allocate(4 * WIDTH);
      this.floats.fill(much, y / 4, y / 4 + WIDTH);
      return this.areas.map((x) => this.place("add", { x, xBytes: 4 * WIDTH, y, width: WIDTH }));
    });
    const values = this.allocate(4 * WIDTH * WIDTH);
    this.floats.fill(3, values / 4, values / 4 + WIDTH * WIDTH);
    const zeros = this.allocate(4 * WIDTH * WIDTH);
    this.attend = this.place("attend", {
      queries: zeros,
      keys: zeros,
      mask: zeros,
      values,
      rows: ATTENDED,
      out: this.attended,
      outBytes: 4 * WIDTH,
      keyHeads: 1,
      together: 1,
      headDim: WIDTH,
      slots: WIDTH,
      ends: this.allocate(4 * ATTENDED),
      tile: 1,
      scratch: this.scratch,
      scratchBytes: SCRATCH_BYTES,
    });
    const inputs = 4096;
    const [weights, out] = [this.allocate(2 * 4 * WIDTH * inputs), this.allocate(2 * 4 * WIDTH)];
    // All rows are the same, and so are those they become.
    this.multiply = this.place("multiplyFloats", { x: weights, rows: LINGERING_ROWS, weights, out, inputs });
  }

  private allocate(bytes: number): number {
    const address = this.used;
    this.used += Math.ceil(bytes / 64) * 64;
    return address;
  }

  /** Address of a job's arguments. */
  private place<J extends NativeJobName>(name: J, values: Partial<Record<NativeJobArgument<J>, number>>): number {
    const names: readonly NativeJobArgument<J>[] = nativeJobArguments[name];
    const address = this.allocate(4 * names.length);
    this.words.set(
      names.map((each) => values[each] ?? 0),
      address / 4,
    );
    return address;
  }

  private runJob(name: NativeJobName, values: number, parts: number, isSmall?: boolean): void {
    this.team.run(nativeJobNames.indexOf(name), values, parts, isSmall);
  }

  protected add(kind: number, area: number, parts: number, isSmall?: boolean): void {
    this.runJob("add", this.adds[kind][area], parts, isSmall);
  }

  protected sumOf(area: number, part: number): number {
    // Another of a row's values for each part, all of which are alike.
    return this.floats[this.areas[area] / 4 + part * WIDTH + (part % WIDTH)];
  }

  /** Which threads do parts of a job. */
  threadsOf(isSmall?: boolean): number[] {
    const scores = this.floats.subarray(this.scratch / 4, (this.scratch + MOST_THREADS * SCRATCH_BYTES) / 4).fill(0);
    const attended = this.floats.subarray(this.attended / 4, this.attended / 4 + ATTENDED * WIDTH).fill(0);
    this.runJob("attend", this.attend, ATTENDED, isSmall);
    assert.ok(attended.every((value) => value === 3));
    return Array.from({ length: MOST_THREADS }, (_, thread) => thread).filter(
      (thread) => scores[(thread * SCRATCH_BYTES) / 4] > 0,
    );
  }

  meet(threads: number, looks = LONG, isSmall?: boolean): boolean {
    const all = Array.from({ length: threads }, (_, thread) => thread);
    const missing = new Set(all);
    // Numbers of threads have no gaps. Nobody waits for a thread here, and it may have been put aside.
    const end = performance.now() + (looks === LONG ? 20_000 : 10);
    do for (const thread of this.threadsOf(isSmall)) missing.delete(thread);
    while (missing.size > 0 && performance.now() < end);
    return missing.size === 0;
  }

  watch(isSmall?: boolean): string {
    this.add(0, AREAS, 2, isSmall);
    return this.words.subarray(0, TEAM_BYTES / 4).join();
  }

  /** Runs a job; whether it was offered to the helpers, so that its ticket, the first word, is another than the last one's. */
  isShared(): boolean {
    const ticket = this.words[0];
    this.add(0, AREAS, 2);
    return this.words[0] !== ticket;
  }

  /** Runs a job of two parts that take long. */
  linger(): void {
    this.runJob("multiplyFloats", this.multiply, 2);
  }
}

/** Parts of an attention, and threads at most. */
const [ATTENDED, MOST_THREADS] = [100, 4];
/** Rows of a product that takes several times as long as a helper to start. */
const LINGERING_ROWS = 100_000;

/** Words of one job: more than several threads may share. */
const AREA = MOST_PARTS + 100;
const AREAS = 3;

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

/** Releases the teams that are made after each test. */
function releasedTeams(): <T extends TestTeam>(team: T) => T {
  const teams: TestTeam[] = [];
  afterEach(async () => {
    await Promise.all(teams.splice(0).map(({ team }) => team.release()));
  });
  return (team) => {
    teams.push(team);
    return team;
  };
}

/** Skips what runs native kernels where there are none for this platform and processor. */
function needsNativeKernels(this: Mocha.Context): void {
  if (nativeKernels() === null) this.skip();
}

/** What a team runs: a new one, one whose helpers stop as they start. */
const kinds = [
  {
    title: "WebAssembly",
    isNative: false,
    create: (helpers: number): TestTeam => new WasmTeam(helpers),
    createBroken: (helpers: number): TestTeam => new WasmTeam(helpers, withoutHelp),
  },
  {
    title: "native code",
    isNative: true,
    create: (helpers: number): TestTeam => new NativeTeam(helpers),
    createBroken: (helpers: number): TestTeam => new NativeTeam(helpers, nativeHelper(resolve("no such file"))),
  },
];

for (const { title, isNative, create, createBroken } of kinds)
  describe(`Team (${title})`, () => {
    const released = releasedTeams();
    const teamOf = (helpers: number) => released(create(helpers));

    if (isNative) before(needsNativeKernels);

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
      team.runAll(Array.from({ length: 60_000 }, (_, round) => 2 + next(round % 2 === 0 ? 3 : 400)));
      team.team.end();
      team.checkAll();
    });

    it("lets no two jobs look the same to a helper, which might take the part of one for the other's", () => {
      const [team, count] = [released(createBroken(1)), 10_000];
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
        // Up to more than twice as long as helpers look for work before they sleep.
        const end = performance.now() + next(1000) / 1000;
        while (performance.now() < end);
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

    for (const [when, prepare] of [
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
        await prepare(team);
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
      const team = released(createBroken(2));
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

    for (const [title, can] of [
      ["none", [false, false]],
      ["the first", [true, false]],
      ["the second", [false, true]],
    ] as const)
      it(`does with ${title} of 2 helpers where the system has no more threads`, async () => {
        const { Worker: original } = workerThreads;
        let asked = 0;
        // As Node does it.
        class Limited extends original {
          constructor(...operands: ConstructorParameters<typeof original>) {
            if (!can[asked++]) throw Object.assign(new Error("EAGAIN"), { code: "ERR_WORKER_INIT_FAILED" });
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
        const started = can.filter(Boolean).length;
        assert.equal(asked, 2);
        assert.equal(team.team.threads, 1 + started);
        await wakeAll(team.team, started);
        assert.equal(team.meet(2, started === 1 ? LONG : 1000), started === 1);
        for (const parts of [1, 2, 50]) team.run(1, parts);
        team.team.end();
        team.checkAll();
      });
  });

describe("Team with a helper that is long amid a part", () => {
  const released = releasedTeams();

  it("leaves some jobs to who leads, and then shares them again", async () => {
    const team = released(new WasmTeam(1, modulesOf(100)));
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
    const team = released(new WasmTeam(1));
    await team.wake();
    for (let round = 0; round < 10; round++) {
      team.linger();
      assert.ok(team.isShared());
    }
    team.team.end();
  });

  for (const helpers of [1, 2])
    it(`does each part of every job once where it works alone now and then (threads: ${helpers + 1})`, async () => {
      const team = released(new WasmTeam(helpers, modulesOf(0)));
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

  it("leaves some jobs to who leads, and then shares them again, where they are native", async function () {
    needsNativeKernels.call(this);
    let [tries, alone] = [0, 0];
    let team: NativeTeam;
    do {
      assert.ok(tries++ < 100, "it works alone");
      team = released(new NativeTeam(1));
      team.team.begin();
      // The helper starts meanwhile, and is amid its part when the leader has done its own.
      team.linger();
    } while (team.isShared());
    do alone++;
    while (!team.isShared() && alone < 100_000);
    assert.ok(alone >= 100 && alone < 100_000, `${alone} jobs`);
    assert.ok(team.meet(2));
    team.team.end();
  });
});

/** Sizes of products and of an attention that several threads share, none of which divides evenly. */
const [inputs, groups, groupsOfPart, positions, keyHeads, together, headDim] = [160, 40, 3, 208, 3, 5, 32];

/** A chain of jobs, each of which reads what the one before wrote, in a memory for so many threads. */
function chain(threads: number, isNative: boolean) {
  const memory = RowMemory.create(threads, isNative)!;
  const next = numbers(7);
  const random = (count: number) => memory.place(Float32Array.from({ length: count }, () => next(2001) / 1000 - 1));
  const [outputs, heads] = [4 * groups, keyHeads * together];
  const values = random(inputs);
  // As wide as it is long, so that it can be multiplied again; and wide enough for queries.
  const made = memory.allocateFloats(outputs);
  const queries = memory.allocateFloats(heads * headDim);
  const attended = memory.allocateFloats(heads * headDim);
  const multiply = (isNative ? nativeProduct : wasmProduct)(memory, next, values, made);
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
    slots: positions,
    // Of the native kernels.
    rows: 1,
    sight: memory.place(Int32Array.of(positions, stretch)),
    tile: 1,
    scale: floatBits(1),
    numberBytes: 4,
  };
  const [keys, attendedTo] = [random(keyHeads * positions * headDim), random(keyHeads * positions * headDim)];
  const mask = memory.allocateFloats(positions);
  const strips = headDim / 16;
  const scored = { ...shared, queries, keys, mask, stretches, stretch };
  const summed = { ...shared, values: attendedTo, out: attended, strips };
  const [score, soften, sum] = isNative
    ? [memory.nativeJob("score", scored), memory.nativeJob("soften", shared), memory.nativeJob("sum", summed)]
    : [memory.job("score", scored), memory.job("soften", shared), memory.job("sum", summed)];
  const copy = (from: number, to: number, count: number) =>
    memory.floats.copyWithin(to / 4, from / 4, from / 4 + count);
  return {
    memory,
    step() {
      multiply();
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

/** A product of blocks with random weights: `out` = `x` W. */
function wasmProduct(memory: RowMemory, next: (end: number) => number, x: number, out: number): () => void {
  const [outputs, blocks] = [4 * groups, inputs / BLOCK_INPUTS];
  const { streamBytes } = packedBlocks(outputs, inputs);
  const weights = memory.allocate(4 * streamBytes, PAGE_BYTES);
  memory.bytes(weights, 4 * streamBytes).set(Uint8Array.from({ length: 4 * streamBytes }, () => next(256)));
  const rounded = memory.allocate(blocks * ACTIVATION_BYTES);
  const product = memory.job("multiplyBlocks", {
    x: rounded,
    rows: 1,
    weights,
    streamBytes,
    scales: memory.place(Float32Array.from({ length: outputs * blocks }, () => next(2001) / 1000 - 1)),
    out,
    outBytes: 4 * outputs,
    blocks,
    groups: groupsOfPart,
    allGroups: groups,
  });
  return () => {
    memory.kernels.quantizeBlocks(x, rounded, inputs);
    product.run(Math.ceil(groups / groupsOfPart));
  };
}

/** The same for the native kernels. */
function nativeProduct(memory: RowMemory, next: (end: number) => number, x: number, out: number): () => void {
  const [outputs, blocks, outputsOfGroup] = [4 * groups, inputs / BLOCK_INPUTS, 16];
  const length = nativeBlocksBytes(outputs, inputs);
  const weights = memory.allocate(length);
  const numbers = Uint8Array.from({ length: (outputs * inputs) / 2 }, () => next(256));
  const scales = Uint16Array.from({ length: outputs * blocks }, () => toHalf(next(2001) / 1000 - 1));
  packNativeBlocks(memory.bytes(weights, length), 0, numbers, scales, blocks);
  const rounded = memory.allocate(blocks * NATIVE_ACTIVATION_BYTES);
  const round = memory.nativeJob("roundBlocks", { x, out: rounded, inputs });
  const allGroups = outputs / outputsOfGroup;
  const product = memory.nativeJob("multiplyBlocks", {
    x: rounded,
    rows: 1,
    weights,
    out,
    blocks,
    groups: groupsOfPart,
    allGroups,
  });
  return () => {
    round.run(1);
    product.run(Math.ceil(allGroups / groupsOfPart));
  };
}

for (const { title, isNative } of kinds)
  describe(`RowMemory with several threads (${title})`, () => {
    const steps = 300;

    /** What each step gives. */
    const results: Uint8Array[] = [];

    before(function () {
      if (isNative) needsNativeKernels.call(this);
      const { step, result } = chain(1, isNative);
      for (let i = 0; i < steps; i++) {
        step();
        results.push(result());
      }
      assert.ok(new Set(results.map(String)).size > steps / 2, "steps differ");
      assert.ok(new Float32Array(results.at(-1)!.buffer).every(Number.isFinite));
    });

    for (const threads of [2, 3])
      it(`gives the same bits with ${threads} threads as with one`, async () => {
        const { memory, step, result } = chain(threads, isNative);
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
      const memory = RowMemory.create(helpers + 1, isNative)!;
      await wakeAll(memory.team, helpers);
      for (let i = 0; i < 40; i++) {
        const heads = 30;
        const scores = memory.place(new Float32Array(64 * heads).fill(i));
        memory.allocate(100_000);
        const factors = memory.allocateFloats(heads);
        const given = { scores, together: 1, positions: 64, factors };
        const sight = memory.place(Int32Array.of(64, 64));
        const soften = isNative
          ? memory.nativeJob("soften", { ...given, rows: 1, keyHeads: heads, slots: 64, sight, tile: 1 })
          : memory.job("soften", { ...given, scoreBytes: 256 });
        soften.run(heads);
        const found = memory.floats.subarray(factors / 4, factors / 4 + heads);
        assert.ok(found.every((factor) => factor === 1 / 64));
      }
      memory.team.end();
      await memory.team.release();
    });

    const source = JSON.stringify(resolve("model-runtime/kernels/row-kernels.ts"));
    const create = `const { RowMemory } = require(${source}); const memory = RowMemory.create(3, ${isNative});`;
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
