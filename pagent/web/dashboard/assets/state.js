// What the page knows of the router: agents, jobs, pools, figures and samples, kept current by events.

const SAMPLES_MAX = 900;
const ACTIVITY_MAX = 100;
const ENDED_MAX = 2000;

export const STATES = ["RUNNING", "PENDING", "NEW", "QUEUED", "UNREACHABLE", "FINISHED", "CLOSED", "unknown"];
export const ENDED = new Set(["FINISHED", "CLOSED"]);

// Positions in the figures of a job.
export const CPU = 0;
export const MEMORY = 1;
export const STREAMS = 2;
export const RECEIVED = 3;
export const SENT = 4;
export const IDLE = 5;

export class Store {
  agents = new Map();
  jobs = new Map();
  // Jobs that are gone, as they were last.
  ended = new Map();
  pools = [];
  // By uid, {values, at}: the figures of an event, and when it has come.
  figures = new Map();
  samples = [];
  // The newest first: {time, name, data}.
  activity = [];
  isListed = false;
  // Seconds that the clock of the server is ahead of this one.
  skew = 0;

  #listeners = new Map();
  #dirty = new Set();
  // Uids that events have named while a list is under way: events are newer than the list.
  #touched = null;

  // Call a function after changes of a topic: agents, jobs, ended, pools, tickets, figures, sample,
  // activity, clock.
  // Return the function that ends this.
  on(topics, listener) {
    const names = topics.split(" ");
    for (const name of names) {
      if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
      this.#listeners.get(name).add(listener);
    }
    return () => names.forEach((name) => this.#listeners.get(name).delete(listener));
  }

  // Several changes in one task are one notification.
  #changed(...topics) {
    if (this.#dirty.size === 0) queueMicrotask(() => this.#notify());
    topics.forEach((topic) => this.#dirty.add(topic));
  }

  #notify() {
    const listeners = new Set();
    for (const topic of this.#dirty) (this.#listeners.get(topic) ?? []).forEach((each) => listeners.add(each));
    this.#dirty.clear();
    listeners.forEach((listener) => listener());
  }

  // --- time ---

  // The time by the clock of the server, in epoch seconds.
  now() {
    return Date.now() / 1000 + this.skew;
  }

  // ``time``: of the server, to ``step`` seconds exactly. A small difference is the way that the answer took.
  setClock(time, step = 1) {
    const skew = time - Date.now() / 1000;
    if (Math.abs(skew - this.skew) <= step + 1) return;
    this.skew = Math.abs(skew) <= step + 1 ? 0 : skew;
    this.#changed("clock");
  }

  // --- lists ---

  beginListing() {
    this.#touched = new Set();
  }

  // Take complete lists of agents and jobs. What events have said since beginListing() holds.
  listed(agents, jobs) {
    const touched = this.#touched ?? new Set();
    this.#touched = null;
    this.agents = merged(this.agents, agents, touched);
    this.jobs = merged(this.jobs, jobs, touched);
    for (const uid of this.figures.keys()) if (!this.jobs.has(uid)) this.figures.delete(uid);
    this.isListed = true;
    this.poolsListed(this.pools);
    this.#changed("agents");
  }

  // Take agents with their present figures; if ``all`` is true, those that are not among them are away.
  agentsListed(agents, all = true) {
    const listed = new Set(agents.map(({ uid }) => uid));
    for (const [uid, agent] of this.agents) {
      if (all && !listed.has(uid) && agent.awaySince === undefined)
        this.agents.set(uid, { ...agent, awaySince: this.now() });
    }
    agents.forEach((agent) => this.agents.set(agent.uid, agent));
    this.#changed("agents");
  }

  // Take the jobs of one agent.
  jobsListed(jobs) {
    jobs.forEach((job) => this.jobs.set(job.uid, job));
    this.#changed("jobs");
  }

  endedListed(jobs) {
    this.ended = new Map(jobs.map((job) => [job.uid, job]));
    this.#changed("ended");
  }

  // A request has the newest line of its engine; there is no event for each line.
  poolsListed(pools) {
    this.pools = pools;
    for (const pool of pools) {
      for (const { job, message } of pool.requests) {
        const known = this.jobs.get(job);
        if (known?.state === "QUEUED") this.jobs.set(job, { ...known, pool: pool.name, message });
      }
    }
    this.#changed("pools", "jobs");
  }

  // Take one job, as its GET answers it.
  jobSeen(job) {
    if (job.removed_at) this.#put("ended", job);
    else this.#put("jobs", job);
  }

  #put(table, job) {
    this[table].set(job.uid, job);
    this.#changed(table);
  }

  // --- events ---

  apply(name, data) {
    const [subject] = name.split(".");
    if (name === "sample") this.#sample(data);
    else if (name === "figures") this.#figures(data.jobs);
    else if (subject === "agent") this.#agent(name, data);
    else if (subject === "job") this.#job(name, data);
    else if (subject === "ticket") this.#changed("tickets");
    if (subject === "agent" || subject === "job" || subject === "ticket") this.#note(name, data);
  }

  #sample(data) {
    const time = typeof data.time === "string" ? Date.parse(data.time) / 1000 : data.time;
    this.samples.push({ ...data, time });
    if (this.samples.length > SAMPLES_MAX) this.samples.shift();
    this.setClock(time);
    this.#changed("sample");
  }

  #figures(jobs) {
    const at = this.now();
    for (const [uid, figures] of Object.entries(jobs)) this.figures.set(uid, { values: figures, at });
    this.#changed("figures");
  }

  #agent(name, agent) {
    this.#touched?.add(agent.uid);
    const isAway = name === "agent.down" || (agent.links ?? []).length === 0;
    this.agents.set(agent.uid, isAway ? { ...agent, awaySince: this.now() } : agent);
    this.#changed("agents", "jobs");
  }

  #job(name, job) {
    this.#touched?.add(job.uid);
    if (name === "job.removed") {
      this.jobs.delete(job.uid);
      this.figures.delete(job.uid);
      this.ended.set(job.uid, removed(job, this.now()));
      if (this.ended.size > ENDED_MAX) this.ended.delete(this.ended.keys().next().value);
      this.#changed("ended");
    } else this.jobs.set(job.uid, job);
    this.#changed("jobs");
  }

  #note(name, data) {
    this.activity.unshift({ time: this.now(), name, data });
    if (this.activity.length > ACTIVITY_MAX) this.activity.pop();
    this.#changed("activity");
  }

  // --- questions ---

  // The job with a uid, whether it exists, waits or is gone.
  job(uid) {
    return this.jobs.get(uid) ?? this.ended.get(uid) ?? null;
  }

  isAway(agentUid) {
    return this.agents.get(agentUid)?.awaySince !== undefined;
  }

  // The state to display. Between agent.down and agent.up there is no event for each job.
  stateOf(job) {
    if (!ENDED.has(job.state) && job.agent && this.isAway(job.agent)) return "UNREACHABLE";
    return job.state;
  }

  // A figure of a job as the newest event has it, otherwise as the job has it; null if it is not known.
  figure(job, which) {
    const live = this.figures.get(job.uid)?.values[which];
    if (live !== undefined) return live;
    if (which === MEMORY) return job.rss_bytes ?? null;
    if (which === STREAMS) return job.open_streams ?? null;
    return null;
  }

  // Seconds without use. They grow between events.
  idle(job) {
    const figures = this.figures.get(job.uid);
    const live = figures?.values[IDLE];
    if (typeof live === "number") return live + Math.max(0, this.now() - figures.at);
    const times = [job.last_request_at, job.last_input_at].filter(Boolean).map((text) => Date.parse(text) / 1000);
    return times.length ? this.now() - Math.max(...times) : null;
  }

  // Seconds since the start; of a job that has ended, the time that it ran.
  age(job) {
    const begun = Date.parse(job.started_at ?? job.created_at ?? "") / 1000;
    if (Number.isNaN(begun)) return null;
    const ended = ENDED.has(job.state) ? Date.parse(job.finished_at ?? job.removed_at ?? "") / 1000 : NaN;
    return (Number.isNaN(ended) ? this.now() : ended) - begun;
  }
}

// The job of an event of its removal, which has it as it was last.
function removed(job, now) {
  const state = ENDED.has(job.state) ? job.state : "CLOSED";
  return { ...job, state, removed_at: job.removed_at ?? new Date(now * 1000).toISOString() };
}

function merged(known, listed, touched) {
  const result = new Map(listed.map((each) => [each.uid, each]));
  for (const uid of touched) {
    if (known.has(uid)) result.set(uid, known.get(uid));
    else result.delete(uid);
  }
  return result;
}

// Count jobs by state.
export function tally(states) {
  const counts = new Map();
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
  return counts;
}
