// The filter of the jobs: words that all have to be somewhere, "agent:x", "owner:x", "state:x", and "label=value".

import { stateWord } from "./chips.js";

export class Filter {
  #terms;

  constructor(query) {
    this.#terms = query.toLowerCase().split(/\s+/).filter(Boolean).map(term);
  }

  fits(job, store) {
    return this.#terms.every((fits) => fits(job, store));
  }
}

function term(word) {
  const [, field, value] = /^(agent|owner|state|pool):(.*)$/.exec(word) ?? [];
  if (field === "agent") return (job, store) => has(job.agent, value) || has(store.agents.get(job.agent)?.name, value);
  if (field === "state")
    return (job, store) => has(store.stateOf(job), value) || has(stateWord(store.stateOf(job)), value);
  if (field) return (job) => has(job[field], value);
  return (job, store) =>
    has(job.name, word) ||
    has(job.uid, word) ||
    has(job.owner, word) ||
    labelled(job, word) ||
    has(store.agents.get(job.agent)?.name, word);
}

function has(text, part) {
  return typeof text === "string" && text.toLowerCase().includes(part);
}

function labelled(job, word) {
  return Object.entries(job.labels ?? {}).some(([name, value]) => `${name}=${value}`.toLowerCase().includes(word));
}
