/** Finds stop strings in a stream of bytes (Aho and Corasick 1975). */

import { UserError } from "../errors";

/** Several stop strings looked for at once, a byte at a time. */
export interface StopMatcher {
  /**
   * Reads the next byte of the stream.
   * @returns the length in bytes of the stop string that ends here, of several the longest; 0 when none does. The text
   *   then ends that many bytes earlier.
   */
  push(byte: number): number;
  /** How many of the last bytes may be the beginning of a stop string, and are not to be shown yet. */
  readonly heldBytes: number;
}

/** UserError when a stop string is empty: it would stop before the first byte. */
export function createStopMatcher(stops: readonly Uint8Array[]): StopMatcher {
  checkStops(stops);
  const root = buildTrie(stops);
  let node = root;
  return {
    push(byte) {
      node = follow(node, byte);
      return node.matched;
    },
    get heldBytes() {
      return node.depth;
    },
  };
}

/** UserError when a stop string is empty. */
export function checkStops(stops: readonly Uint8Array[]): void {
  if (stops.some((stop) => stop.length === 0)) throw new UserError("A stop string is empty; give at least one byte.");
}

/** What has been read of the stop strings: the longest end of the stream that begins one of them. */
interface TrieNode {
  children: Map<number, TrieNode>;
  /** Length of that end. */
  depth: number;
  /** Length of the longest stop string that is an end of it; 0 when none is. */
  matched: number;
  /** The node of the next shorter such end; null at the root. */
  fallback: TrieNode | null;
}

function buildTrie(stops: readonly Uint8Array[]): TrieNode {
  const root: TrieNode = { children: new Map(), depth: 0, matched: 0, fallback: null };
  for (const stop of stops) {
    let node = root;
    for (const byte of stop) {
      let child = node.children.get(byte);
      if (child === undefined) {
        child = { children: new Map(), depth: node.depth + 1, matched: 0, fallback: root };
        node.children.set(byte, child);
      }
      node = child;
    }
    node.matched = node.depth;
  }
  // Breadth first: a fallback is shallower than its node, so it is complete when it is needed.
  const queue = [...root.children.values()];
  for (const node of queue) {
    for (const [byte, child] of node.children) {
      child.fallback = follow(node.fallback!, byte);
      child.matched ||= child.fallback.matched;
      queue.push(child);
    }
  }
  return root;
}

/** The node after one more byte: the longest end that can still grow into a stop string. */
function follow(from: TrieNode, byte: number): TrieNode {
  let node = from;
  for (;;) {
    const child = node.children.get(byte);
    if (child !== undefined) return child;
    if (node.fallback === null) return node;
    node = node.fallback;
  }
}
