// The connection to the router: one stream of events, opened again when it is lost, and lists when events are missed.

import { ApiError } from "./api.js";
import { whenHidden } from "./visibility.js";

const SILENCE_MS = 40_000;
const FIRST_MS = 500;
const LONGEST_MS = 30_000;
const POOLS_MS = 300;
// Another attempt with the same token has the same answer.
const REFUSED = new Set([401, 403]);

// The wait before an attempt: doubled each time, and spread, so that many pages do not come at once.
export function backoff(attempt, random = Math.random()) {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt) * (0.5 + random / 2);
}

// Emits "change" when ``state`` or ``retryAt`` changes. States: connecting, live, lost, unauthorized.
export class Live extends EventTarget {
  #api;
  #store;
  #last = null;
  #attempt = 0;
  #run = null;
  #poolsTimer = null;

  constructor(api, store) {
    super();
    this.#api = api;
    this.#store = store;
    this.state = "connecting";
    this.error = null;
    // When the next attempt is made, in ms of this clock.
    this.retryAt = null;
  }

  // A browser has six connections to one origin for all its tabs: a page that is not seen gives its stream back, and
  // resumes it when it is seen again.
  pauseWhileHidden() {
    whenHidden(() => this.stop());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#run === null && this.state !== "unauthorized") this.start();
    });
  }

  // Connect, or connect again at once.
  start() {
    this.stop();
    this.#run = new AbortController();
    this.#keep(this.#run.signal);
  }

  stop() {
    this.#run?.abort();
    this.#run = null;
  }

  #set(state, error = null, retryAt = null) {
    if (state === "lost" && this.state === "live") this.#api.dispatchEvent(new Event("lost"));
    Object.assign(this, { state, error, retryAt });
    this.dispatchEvent(new Event("change"));
  }

  async #keep(signal) {
    while (!signal.aborted) {
      this.#set(this.state === "lost" ? "lost" : "connecting", this.error);
      const error = await this.#once(signal);
      if (signal.aborted) return;
      if (REFUSED.has(error?.status)) {
        this.#last = null;
        this.#set("unauthorized", error);
        return;
      }
      const wait = backoff(this.#attempt);
      this.#attempt += 1;
      this.#set("lost", error, Date.now() + wait);
      await pause(wait, signal);
    }
  }

  // Follow one stream to its end; return why it has ended.
  async #once(signal) {
    const stream = new AbortController();
    const end = () => stream.abort();
    signal.addEventListener("abort", end);
    let timer = setTimeout(end, SILENCE_MS);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(end, SILENCE_MS);
    };
    try {
      for await (const event of this.#api.events(this.#last, alive, stream.signal)) {
        await this.#take(event, stream);
      }
      return stream.signal.reason instanceof ApiError ? stream.signal.reason : null;
    } catch (error) {
      return stream.signal.reason instanceof ApiError ? stream.signal.reason : error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }

  async #take(event, stream) {
    if (event.name === "open") {
      const isResumed = this.#last !== null;
      this.#last = event.id ?? this.#last;
      this.#begin(isResumed, stream);
    } else {
      if (event.id) this.#last = event.id;
      if (event.name === "reset") this.#list(stream);
      else this.#apply(event, stream);
    }
  }

  // A list that fails ends the stream, so that all is tried again later.
  #begin(isResumed, stream) {
    this.#attempt = 0;
    // Another token may see other jobs.
    if (isResumed && this.#store.isListed && this.#api.caller) this.#set("live");
    else this.#list(stream);
    this.#pools(stream);
  }

  #apply(event, stream) {
    const { name, data } = event;
    if (name === "pool.request") this.#poolsSoon(stream);
    else {
      const wasKnown = this.#store.agents.has(data.uid);
      this.#store.apply(name, data);
      if (name === "agent.up" && wasKnown) this.#listJobsOf(data.uid, stream);
    }
    if (this.state !== "live" && this.#store.isListed) this.#set("live");
  }

  async #list(stream) {
    const { signal } = stream;
    try {
      this.#store.beginListing();
      const [agents, jobs] = await Promise.all([
        this.#api.all("agents", "agents", {}, signal),
        this.#api.all("jobs", "jobs", {}, signal),
        this.#api.identify(signal),
      ]);
      this.#store.listed(agents, jobs);
      this.#set("live");
    } catch (error) {
      this.#last = null;
      stream.abort(error);
    }
  }

  // Its jobs may have been listed as unreachable.
  async #listJobsOf(agent, { signal }) {
    try {
      this.#store.jobsListed(await this.#api.all("jobs", "jobs", { agent }, signal));
    } catch {
      // The stream has ended, or the agent is gone again: an event says so.
    }
  }

  #poolsSoon(stream) {
    this.#poolsTimer ??= setTimeout(() => {
      this.#poolsTimer = null;
      this.#pools(stream);
    }, POOLS_MS);
  }

  async #pools({ signal }) {
    try {
      this.#store.poolsListed((await this.#api.get("pools", {}, signal)).pools);
    } catch {
      // As above; the next request of a pool lists them again.
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
