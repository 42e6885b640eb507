// What arrives at some time, in order, for those who wait for it.

export class Mailbox {
  #waiting = [];
  #there = [];

  put(what) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(what);
    else this.#there.push(what);
  }

  /** The next one; rejects after `patienceMs`. */
  async next(patienceMs = 10_000) {
    if (this.#there.length > 0) return this.#there.shift();
    let timer;
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.push(resolve);
        timer = setTimeout(() => reject(new Error(`nothing arrived in ${patienceMs} ms`)), patienceMs);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** The next `count`. */
  async take(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }
}
