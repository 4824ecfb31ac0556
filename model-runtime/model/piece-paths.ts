/**
 * The latent transformer over pieces, asked for the next piece after paths (docs/lexicon.md, section 6). It keeps what is
 * cached of a few paths, in a bounded amount of memory, and runs what an asked one does not share with them. Questions
 * that come together are answered by one run of the layers, over a tree of rows, and one of the readout.
 *
 * Shapes: N rows of a run, M rows read out, E width, S sorted pieces.
 */
import { type PieceLatent, type Proposal, type RunShares, usualShares } from "../lexicon/latent";
import type { Feeds } from "../session";
import type { CausalNetwork } from "./causal-network";
import type { PieceNetworks } from "./piece-latent";
import { PiecePath } from "./piece-path";
import { READOUT_ROWS } from "./readout";
import { RunTimes } from "./run-times";

/** Positions that go through the layers in one run: enough for full speed, few enough to stop soon. */
const CHUNK = 64;
/** Positions at a path's end that are forgotten for another path; a longer end is worth a path of its own. */
const FORGOTTEN = 96;
/** Bytes of all paths together; the one in use is kept whatever it takes. */
export const PATHS_BYTES = 112 * 2 ** 20;

interface Question {
  path: Int32Array;
  signal?: AbortSignal;
  resolve(masses: Float32Array): void;
  reject(reason: unknown): void;
}

export class PiecePaths implements PieceLatent {
  /** Runs of the layers, and positions they computed. */
  steps = 0;
  positions = 0;
  /** In the order of use, the last one used at the end. */
  private paths: PiecePath[];
  /** The layers that computed them. */
  private layers: CausalNetwork;
  private questions: Question[] = [];
  private expected: Int32Array | null = null;
  /** Paths that are run along with the next questions, and what was then found. */
  private others: readonly Int32Array[] = [];
  private ahead: { path: Int32Array; masses: Float32Array }[] = [];
  private isAnswering = false;
  private readonly times = new RunTimes(usualShares);

  constructor(
    private readonly networks: PieceNetworks,
    private readonly mostBytes = PATHS_BYTES,
  ) {
    this.layers = networks.layers;
    this.paths = [this.emptyPath()];
  }

  /** Bytes held. */
  get byteLength(): number {
    return this.paths.reduce((sum, path) => sum + path.byteLength, 0);
  }

  /** Number of paths of which something is cached. */
  get count(): number {
    return this.paths.length;
  }

  get costs(): RunShares {
    return this.times.shares;
  }

  get version(): unknown {
    return this.networks.layers;
  }

  ask(path: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    const known = this.isAnswering ? undefined : this.known(path);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      this.questions.push({ path, signal, resolve, reject });
      if (!this.isAnswering) {
        this.isAnswering = true;
        setImmediate(() => this.answerAll());
      }
    });
  }

  expect(path: Int32Array | null, others: readonly Int32Array[] = []): void {
    this.expected = path;
    this.others = others;
    this.ahead = [];
  }

  knows(path: Int32Array): boolean {
    return !this.isAnswering && this.known(path) !== undefined;
  }

  /** Null without a draft layer. */
  foresee(
    path: Int32Array,
    choose: (proposals: readonly Proposal[]) => number | null,
    signal?: AbortSignal,
  ): Promise<void> | null {
    const { foresight } = this.networks;
    if (foresight === null) return null;
    this.followLayers();
    const nearest = this.nearest(path);
    return foresight.draft(nearest, nearest.states, nearest.shared(path), path, choose, signal);
  }

  /** Answers what is asked; who gets an answer may ask more, which is answered together. */
  private async answerAll(): Promise<void> {
    while (this.questions.length > 0) {
      const questions = this.questions.splice(0);
      const { expected, others } = this;
      [this.expected, this.others] = [null, []];
      try {
        const masses = await this.answer(questions, expected, others);
        questions.forEach((question, i) => {
          question.resolve(masses[i]);
        });
      } catch (error) {
        for (const question of questions) question.reject(error);
      }
      // Those who were answered go on before the next run.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.isAnswering = false;
  }

  /** Forgets what other layers have computed, when an adapter has come into use. */
  private followLayers(): void {
    if (this.layers === this.networks.layers) return;
    this.layers = this.networks.layers;
    this.paths = [this.emptyPath()];
  }

  private emptyPath(): PiecePath {
    const { foresight } = this.networks;
    return PiecePath.empty(this.layers, foresight?.stateWidth ?? this.layers.config.hiddenSize);
  }

  private known(path: Int32Array): Float32Array | undefined {
    this.followLayers();
    const current = this.paths[this.paths.length - 1];
    const masses = current.masses.get(path.length - 1);
    return masses !== undefined && current.shared(path) === path.length ? masses : undefined;
  }

  private async answer(
    asked: readonly Question[],
    expected: Int32Array | null,
    others: readonly Int32Array[],
  ): Promise<Float32Array[]> {
    this.followLayers();
    const known = asked.map(({ path }) => this.ahead.find((found) => isEqual(found.path, path))?.masses);
    if (known.every((masses) => masses !== undefined)) return known as Float32Array[];
    const { signal } = asked[0];
    const questions = [...asked, ...others.map((path) => ({ path }))];
    const main = expected ?? questions[questions.length - 1].path;
    const current = this.choose(main);
    current.turnTo(main);
    const tree = new Tree(current, main, questions);
    await this.followUpTo(
      current,
      main,
      Math.max(current.length, main.length - Math.max(1, CHUNK - tree.count)),
      signal,
    );
    const before = this.positions;
    const start = performance.now();
    const states = await this.run(current, main, tree, signal);

    // What follows the expected path is likely to be asked next.
    const first = Math.min(...questions.map(({ path }) => path.length)) - 1;
    const expectedPlaces = expected === null ? [] : range(Math.max(0, first), main.length);
    const found = new Map<number, Float32Array>();
    for (const place of [...tree.places, ...expectedPlaces]) {
      const known = current.masses.get(place);
      if (known !== undefined) found.set(place, known);
    }
    const wanted = [...new Set([...tree.places, ...expectedPlaces])].filter((place) => !found.has(place));
    for (let from = 0; from < wanted.length; from += READOUT_ROWS) {
      const places = wanted.slice(from, from + READOUT_ROWS);
      const rows = places.map((place) => states(place));
      for (const [i, masses] of (await this.readOut(rows, signal)).entries()) {
        found.set(places[i], masses);
        if (places[i] >= 0) current.remember(places[i], masses);
      }
    }
    const positions = this.positions - before;
    // Not where more is read out than was run.
    if (positions <= READOUT_ROWS && wanted.length <= positions) this.times.learn(positions, performance.now() - start);
    this.forgetOthers();
    const answers = tree.places.map((place) => found.get(place)!);
    others.forEach((path, i) => {
      this.ahead.push({ path, masses: answers[asked.length + i] });
    });
    return answers.slice(0, asked.length);
  }

  /** The path that shares most. */
  private nearest(main: Int32Array): PiecePath {
    let best = this.paths[this.paths.length - 1];
    for (const path of this.paths) if (path.shared(main) > best.shared(main)) best = path;
    return best;
  }

  /** The path to go on from: the one that shares most, or a copy of the shared part where a long end would be lost. */
  private choose(main: Int32Array): PiecePath {
    const best = this.nearest(main);
    const shared = best.shared(main);
    if (shared < main.length && best.length - shared > FORGOTTEN) {
      best.masses.clear();
      const copy = best.forkFirst(shared);
      this.paths.push(copy);
      return copy;
    }
    this.paths = [...this.paths.filter((path) => path !== best), best];
    return best;
  }

  /** Runs the positions of `main` up to `end`, a chunk at a time. */
  private async followUpTo(current: PiecePath, main: Int32Array, end: number, signal?: AbortSignal): Promise<void> {
    const { layers } = this.networks;
    while (current.length < end) {
      const from = current.length;
      const count = Math.min(CHUNK, end - from);
      const inputs = this.inputs(main.subarray(from, from + count));
      const { data, stride } = await layers.run(current.cache, count, inputs, null, signal);
      current.states.append(data, count, stride);
      this.positions += count;
    }
  }

  /** Runs the rest of `main` and the tree's branches; returns where the states at places are found. */
  private async run(current: PiecePath, main: Int32Array, tree: Tree, signal?: AbortSignal) {
    const from = current.length;
    const count = Math.max(0, main.length - from);
    const total = count + tree.count;
    let branches: { data: Float32Array; stride: number } = { data: new Float32Array(0), stride: 0 };
    if (total > 0) {
      const pieces = new Int32Array(total);
      pieces.set(main.subarray(from, from + count));
      pieces.set(tree.pieces, count);
      const inputs = this.inputs(pieces);
      if (tree.count === 0) {
        const { data, stride } = await this.networks.layers.run(current.cache, count, inputs, null, signal);
        current.states.append(data, count, stride);
      } else {
        const parents = [
          ...range(0, count).map((row) => (row === 0 ? -1 - from : row - 1)),
          ...tree.parents(from, count),
        ];
        const { data, stride } = await this.networks.layers.runTree(current.cache, parents, count, inputs, signal);
        current.states.append(data, count, stride);
        branches = { data: data.subarray(count * stride), stride };
      }
      this.steps++;
      this.positions += total;
    }
    return (place: number) =>
      place >= 0
        ? current.states.slice(place, place + 1)
        : branches.data.subarray((-1 - place) * branches.stride, -place * branches.stride);
  }

  /** States [M] of [E] -> masses [M] of [S + 1]. */
  private readOut(states: readonly Float32Array[], signal?: AbortSignal): Promise<Float32Array[]> {
    const width = this.networks.layers.config.hiddenSize;
    const rows = new Float32Array(states.length * width);
    states.forEach((state, row) => {
      rows.set(state.subarray(0, width), row * width);
    });
    return this.networks.readout.run(rows, states.length, signal);
  }

  private forgetOthers(): void {
    while (this.paths.length > 1 && this.byteLength > this.mostBytes) this.paths.shift();
  }

  private inputs(pieces: Int32Array): Feeds {
    const { layers, embedding } = this.networks;
    const width = layers.config.hiddenSize;
    const rows = new Float32Array(pieces.length * width);
    for (let row = 0; row < pieces.length; row++) embedding.readRow(pieces[row], rows, row * width);
    return { embedding: { data: rows, shape: [pieces.length, width] } };
  }
}

/**
 * Where the questions' answers are: places of a path, and rows of branches that leave it. A place is a position of the
 * path, or -1 - i for row i of the branches.
 */
class Tree {
  /** Of each question. */
  readonly places: number[];
  private readonly rows: { piece: number; parent: number; depth: number }[] = [];

  constructor(current: PiecePath, main: Int32Array, questions: readonly Pick<Question, "path">[]) {
    this.places = questions.map(({ path }) => {
      // Whichever is longer of what is cached and of what is going to be.
      let shared = current.shared(path);
      while (shared < Math.min(path.length, main.length) && path[shared] === main[shared] && isSame(path, main, shared))
        shared++;
      let place = shared - 1;
      for (let at = shared; at < path.length; at++) place = this.child(place, path[at], at);
      return place;
    });
  }

  get count(): number {
    return this.rows.length;
  }

  get pieces(): number[] {
    return this.rows.map(({ piece }) => piece);
  }

  /** Parents as `KvCache.treeFeeds` wants them, behind `count` rows of the path that follow its first `from` positions. */
  parents(from: number, count: number): number[] {
    return this.rows.map(({ parent }) => {
      if (parent < 0) return count + (-1 - parent);
      return parent >= from ? parent - from : -1 - (parent + 1);
    });
  }

  private child(parent: number, piece: number, depth: number): number {
    let row = this.rows.findIndex((each) => each.parent === parent && each.piece === piece && each.depth === depth);
    if (row < 0) row = this.rows.push({ piece, parent, depth }) - 1;
    return -1 - row;
  }
}

function isEqual(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && isSame(a, b, a.length);
}

function isSame(a: Int32Array, b: Int32Array, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}
