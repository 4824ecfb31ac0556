/** Disjoint spans of rows in ascending order, which move with the rows when rows come and go. */

interface Span {
  from: number;
  to: number;
}

export class Spans {
  private spans: Span[] = [];

  add(from: number, to: number): void {
    if (from >= to) return;
    const touching = this.spans.filter((span) => span.from <= to && span.to >= from);
    const merged = {
      from: Math.min(from, ...touching.map((span) => span.from)),
      to: Math.max(to, ...touching.map((span) => span.to)),
    };
    this.spans = [...this.spans.filter((span) => span.from > to || span.to < from), merged].sort(byStart);
  }

  remove(from: number, to: number): void {
    this.spans = this.spans.flatMap((span) =>
      [
        { from: span.from, to: Math.min(span.to, from) },
        { from: Math.max(span.from, to), to: span.to },
      ].filter((part) => part.from < part.to),
    );
  }

  overlaps(from: number, to: number): boolean {
    return this.spans.some((span) => span.from < to && span.to > from);
  }

  /** Rows `start` to `start + deleted` are gone, `inserted` others are there, and in no span. */
  splice(start: number, deleted: number, inserted: number): void {
    this.remove(start, start + deleted);
    const moved = inserted - deleted;
    this.spans = this.spans.flatMap((span) => {
      if (span.to <= start) return [span];
      if (span.from >= start + deleted) return [{ from: span.from + moved, to: span.to + moved }];
      return [
        { from: span.from, to: start },
        { from: start + inserted, to: span.to + moved },
      ];
    });
  }

  /** The part of a span within `wanted`, else the shortest span; null when there is none. */
  choose(wanted: Span | null): Span | null {
    const inside = wanted && this.spans.find((span) => span.from < wanted.to && span.to > wanted.from);
    if (wanted && inside) return { from: Math.max(inside.from, wanted.from), to: Math.min(inside.to, wanted.to) };
    return this.spans.reduce<Span | null>(
      (best, span) => (best === null || span.to - span.from < best.to - best.from ? span : best),
      null,
    );
  }
}

function byStart(a: Span, b: Span): number {
  return a.from - b.from;
}
