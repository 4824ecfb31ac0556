/** The time of a run: seconds since it was made, pauses not counted. */
export class Stopwatch {
  private readonly began = performance.now();
  private waited = 0;

  get seconds(): number {
    return (performance.now() - this.began - this.waited) / 1000;
  }

  /** Waits for something that is not counted. */
  async pauseFor(wait: Promise<void>): Promise<void> {
    const from = performance.now();
    await wait;
    this.waited += performance.now() - from;
  }
}
