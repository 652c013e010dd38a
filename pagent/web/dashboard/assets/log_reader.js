// The output of a job as the router has it: the bounds of a stream, a stream as it grows, and a part of one.

import { LineSplitter } from "./lines.js";
import { whenHidden } from "./visibility.js";

export class LogReader {
  #api;
  #path;
  #connection = null;

  constructor(api, uid) {
    this.#api = api;
    this.#path = `jobs/${encodeURIComponent(uid)}/logs`;
  }

  // Return the offsets of the first byte of a stream that the agent has, and of its end.
  async bounds(stream, signal) {
    const { headers } = await this.#api.fetch("HEAD", this.#path, { query: { stream }, signal });
    return { start: Number(headers.get("X-Pagent-Start")), end: Number(headers.get("X-Pagent-Offset")) };
  }

  // Read a stream from an offset on, to its end. ``begun`` takes the offset of the first byte, ``take`` each piece;
  // no more is read while the promise of ``take`` is pending. While the page is not seen, its connection is given back.
  async follow(stream, offset, { begun, take }, signal) {
    const connection = new AbortController();
    this.#connection = connection;
    const end = () => connection.abort();
    const unwatch = whenHidden(end);
    signal.addEventListener("abort", end);
    try {
      const query = { stream, offset, follow: 1 };
      const response = await this.#api.fetch("GET", this.#path, { query, signal: connection.signal });
      begun(Number(response.headers.get("X-Pagent-Start")));
      const reader = response.body.getReader();
      for (let piece = await reader.read(); !piece.done && !signal.aborted; piece = await reader.read()) {
        await take(piece.value);
      }
    } finally {
      unwatch();
      signal.removeEventListener("abort", end);
    }
  }

  // Give up the connection of ``follow``, which is an AbortError there.
  renew() {
    this.#connection?.abort();
  }

  // Return the lines between two offsets. An answer has no end of its range, so the rest of it is cancelled.
  async part(stream, from, to, signal) {
    const response = await this.#api.fetch("GET", this.#path, { query: { stream, offset: from }, signal });
    const begin = Number(response.headers.get("X-Pagent-Start"));
    const splitter = new LineSplitter(begin);
    const reader = response.body.getReader();
    const lines = [];
    while (splitter.next < to) {
      const { done, value } = await reader.read();
      if (done) break;
      lines.push(...splitter.feed(value.subarray(0, to - splitter.next)));
    }
    await reader.cancel().catch(() => {});
    return { begin, lines, rest: splitter.unfinished };
  }
}

// Whether another attempt would have the same answer.
export function isRefused(error) {
  return error.status >= 400 && error.status < 500;
}

export function problem(error) {
  if (!error.status) return "The connection is lost.";
  return error.requestId ? `${error.message} (request ${error.requestId})` : error.message;
}
