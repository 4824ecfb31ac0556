/** The last decisions about suggestions, for "why was nothing suggested?". */
import type { Decision } from "./protocol";

const KEPT = 50;

export class Decisions {
  private readonly kept: Decision[] = [];

  add(decision: Decision): void {
    this.kept.push(decision);
    if (this.kept.length > KEPT) this.kept.shift();
  }

  /** Newest first; of one document when its URI is given. */
  list(uri?: string): Decision[] {
    return this.kept.filter((decision) => uri === undefined || decision.uri === uri).reverse();
  }
}
