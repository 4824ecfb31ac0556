/**
 * The words of a growing text, as the pre-tokenizer of the lexicon cuts them (docs/lexicon.md, section 2): a scanner that
 * takes one byte at a time, so that no byte costs more than another, however long its word.
 */

/** What a word consists of; decides how it may go on. */
enum Kind {
  /** An optional space and letters. */
  Letters,
  /** One digit or other number. */
  Number,
  /** An optional space and characters that are neither letters, numbers nor white space. */
  Others,
  /** White space; whether its last character stays in it depends on what follows. */
  Space,
  /** `'s`, `'re` and the like: complete. */
  Contraction,
  /** A byte that is part of no valid UTF-8. */
  Invalid,
}

/** Words at least this long need not be scanned again from their start. */
const LONG_WORD = 32;

export class Words {
  private buffer = new Uint8Array(256);
  private count = 0;
  private readonly starts: number[] = [];
  private readonly kinds: Kind[] = [];
  /** Bytes at the end that begin a character and do not complete it. */
  private tail = 0;

  constructor(text: Uint8Array = new Uint8Array(0)) {
    for (const byte of text) this.append(byte);
  }

  /** Number of bytes. */
  get length(): number {
    return this.count;
  }

  /** Bytes of memory held. */
  get byteLength(): number {
    return this.buffer.byteLength + 16 * this.starts.length;
  }

  /** The text, as a view that holds until the next append. */
  get text(): Uint8Array {
    return this.buffer.subarray(0, this.count);
  }

  /** Number of words of the complete part (everything but an incomplete last character). */
  get wordCount(): number {
    return this.starts.length;
  }

  /** Where the incomplete last character begins; `length` if there is none. */
  get completeLength(): number {
    return this.count - this.tail;
  }

  /** Index of the first word that a later byte can change; 0 without words. */
  get openIndex(): number {
    const last = this.starts.length - 1;
    // One more byte may make one word of an apostrophe and these letters.
    if (last > 0 && this.count - this.starts[last - 1] === 2 && this.buffer[this.count - 2] === APOSTROPHE) {
      const letter = this.buffer[this.count - 1];
      if (letter === 0x72 || letter === 0x76 || letter === 0x6c) return last - 1;
    }
    return Math.max(0, last);
  }

  /** Start of the open word; no later byte moves a word before it, and it never moves back while the text grows. */
  get open(): number {
    return this.starts.length === 0 ? 0 : this.starts[this.openIndex];
  }

  startOf(word: number): number {
    return word < this.starts.length ? this.starts[word] : this.completeLength;
  }

  append(byte: number): void {
    if (this.count === this.buffer.length) {
      const grown = new Uint8Array(this.count * 2);
      grown.set(this.buffer);
      this.buffer = grown;
    }
    this.buffer[this.count++] = byte;
    this.scan(byte, this.count - 1);
  }

  /** Forgets the bytes from `length` on. */
  truncate(length: number): void {
    this.count = length;
    while (this.starts.length > 0 && this.starts[this.starts.length - 1] >= length) this.pop();
    this.tail = 0;
    this.rescan();
  }

  fork(): Words {
    const copy = new Words();
    copy.buffer = this.buffer.slice();
    copy.count = this.count;
    for (let i = 0; i < this.starts.length; i++) copy.push(this.starts[i], this.kinds[i]);
    copy.tail = this.tail;
    return copy;
  }

  /** Takes the byte at `at`, which follows the scanned part and the incomplete character. */
  private scan(byte: number, at: number): void {
    if (this.tail > 0) {
      const first = at - this.tail;
      if (continues(this.buffer[first], this.tail, byte)) {
        this.tail++;
        if (this.tail === characterLength(this.buffer[first])) {
          this.tail = 0;
          this.take(first, decodeAt(this.buffer, first));
        }
        return;
      }
      for (let i = first; i < at; i++) this.push(i, Kind.Invalid);
      this.tail = 0;
    }
    const length = characterLength(byte);
    if (length === 1) this.take(at, byte);
    else if (length === 0) this.push(at, Kind.Invalid);
    else this.tail = 1;
  }

  /** A complete character at byte `at`, the next one after the words so far. */
  private take(at: number, character: number): void {
    const kind = kindOf(character);
    const last = this.starts.length - 1;
    const lastKind = this.kinds[last];
    if (lastKind === Kind.Space && (kind === Kind.Letters || kind === Kind.Others)) {
      // The last white space leaves its run; a space goes into the word that follows.
      const final = characterBefore(this.buffer, at);
      if (final > this.starts[last]) this.push(final, Kind.Space);
      if (this.buffer[final] === SPACE) this.kinds[this.kinds.length - 1] = kind;
      else this.push(at, kind);
    } else if (kind === Kind.Letters && lastKind === Kind.Others && this.isContraction(last, at, character)) {
      this.kinds[last] = Kind.Contraction;
    } else if (kind === Kind.Letters && lastKind === Kind.Letters && this.isLongContraction(last, at, character)) {
      this.pop();
      this.kinds[last - 1] = Kind.Contraction;
    } else if (kind !== lastKind || kind === Kind.Number) {
      this.push(at, kind);
    }
  }

  /** Whether `'` and this letter are 's, 't, 'm or 'd. */
  private isContraction(last: number, at: number, letter: number): boolean {
    const fits = letter === 0x73 || letter === 0x74 || letter === 0x6d || letter === 0x64;
    return fits && this.starts[last] === at - 1 && this.buffer[at - 1] === APOSTROPHE;
  }

  /** Whether `'`, a letter and this letter are 're, 've or 'll. */
  private isLongContraction(last: number, at: number, letter: number): boolean {
    if (last === 0 || this.starts[last] !== at - 1 || this.starts[last - 1] !== at - 2) return false;
    const before = this.buffer[at - 1];
    const fits = letter === 0x65 ? before === 0x72 || before === 0x76 : letter === 0x6c && before === 0x6c;
    return fits && this.buffer[at - 2] === APOSTROPHE;
  }

  /**
   * Scans the end again after a truncation: up to three single bytes may have become an incomplete character, and
   * white space may have come back from the word after it, so five words; less where one of them is long, because
   * inside a word the scanner's state is its kind.
   */
  private rescan(): void {
    let from = this.starts.length > 0 ? this.count : 0;
    for (let words = 0; words < 5 && this.starts.length > 0; words++) {
      const last = this.starts.length - 1;
      const [start, end] = [this.starts[last], from];
      if (end - start >= LONG_WORD) {
        from = characterBefore(this.buffer, end - LONG_WORD / 2);
        break;
      }
      from = start;
      this.pop();
    }
    for (let at = from; at < this.count; at++) this.scan(this.buffer[at], at);
  }

  private push(start: number, kind: Kind): void {
    this.starts.push(start);
    this.kinds.push(kind);
  }

  private pop(): void {
    this.starts.pop();
    this.kinds.pop();
  }
}

const SPACE = 0x20;
const APOSTROPHE = 0x27;

/** Unicode White_Space; `\s` of JavaScript differs at U+0085 and U+FEFF. */
const whiteSpace = /^[\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/;

function classify(character: number): Kind {
  const text = String.fromCodePoint(character);
  if (whiteSpace.test(text)) return Kind.Space;
  if (/^\p{L}$/u.test(text)) return Kind.Letters;
  return /^\p{N}$/u.test(text) ? Kind.Number : Kind.Others;
}

const asciiKinds = Array.from({ length: 128 }, (_, character) => classify(character));

function kindOf(character: number): Kind {
  return character < 128 ? asciiKinds[character] : classify(character);
}

/** Bytes of the UTF-8 character that begins with this byte (RFC 3629); 0 if none does. */
function characterLength(first: number): number {
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/** Whether `byte` may follow `known` bytes of a character: no overlong forms, no surrogates, at most U+10FFFF. */
function continues(first: number, known: number, byte: number): boolean {
  if ((byte & 0xc0) !== 0x80) return false;
  if (known > 1) return true;
  if (first === 0xe0) return byte >= 0xa0;
  if (first === 0xed) return byte < 0xa0;
  if (first === 0xf0) return byte >= 0x90;
  return first !== 0xf4 || byte < 0x90;
}

function decodeAt(bytes: Uint8Array, at: number): number {
  const length = characterLength(bytes[at]);
  let character = length === 2 ? bytes[at] & 0x1f : length === 3 ? bytes[at] & 0x0f : bytes[at] & 0x07;
  for (let i = 1; i < length; i++) character = (character << 6) | (bytes[at + i] & 0x3f);
  return character;
}

/** Start of the last character that begins before `at`; what lies there is valid. */
function characterBefore(bytes: Uint8Array, at: number): number {
  let start = at - 1;
  while ((bytes[start] & 0xc0) === 0x80) start--;
  return start;
}
