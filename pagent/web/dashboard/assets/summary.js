// The tab with the facts of a job: the reason of its end, its details, and its figures of the last minutes.

import { copyButton, tokenButton } from "./chips.js";
import { h, setText } from "./dom.js";
import * as format from "./format.js";
import { Plot } from "./plot.js";
import { CPU, ENDED, MEMORY, RECEIVED, SENT } from "./state.js";

const TAIL_BYTES = 4096;
const HISTORY = 320;

const PLOTS = [
  {
    id: "job-cpu",
    title: "CPU",
    least: 0.04,
    text: format.cores,
    series: [{ name: "CPU", color: 1, value: (sample) => sample.cpu }],
  },
  {
    id: "job-memory",
    title: "Memory",
    least: 1e6,
    text: format.bytes,
    series: [{ name: "Memory", color: 4, value: (sample) => sample.memory }],
  },
  {
    id: "job-traffic",
    title: "Traffic",
    least: 1e4,
    text: format.rate,
    series: [
      { name: "in", color: 1, value: (sample) => sample.received },
      { name: "out", color: 3, value: (sample) => sample.sent },
    ],
  },
];

export function mountSummary(element, job, api, app) {
  return new Summary(element, job, api, app);
}

class Summary {
  #api;
  #store;
  #uid;
  #why = h("div.why");
  #facts = h("section.card", { "aria-label": "Facts" });
  #plots = [];
  #history = [];
  #off;
  #running = new AbortController();

  constructor(element, job, api, { store }) {
    this.#api = api;
    this.#store = store;
    this.#uid = job.uid;
    this.#plots = PLOTS.map((each) => new Plot(each));
    this.plots = h(
      "section.plots.small",
      { "aria-label": "The last five minutes" },
      ...this.#plots.map((plot) => plot.element),
    );
    element.append(this.#why, this.plots, this.#facts);
    this.#off = store.on("sample", () => this.#sample());
  }

  end() {
    this.#off();
    this.#running.abort();
    this.#plots.forEach((plot) => plot.end());
  }

  // Figures come when they change; a sample of each second repeats the last ones.
  #sample() {
    const job = this.#store.job(this.#uid);
    if (!job || this.plots.hidden) return;
    const time = this.#store.samples.at(-1).time;
    const [received, sent] = [RECEIVED, SENT].map((which) => this.#store.figure(job, which));
    const sample = {
      time,
      cpu: this.#store.figure(job, CPU),
      memory: this.#store.figure(job, MEMORY),
      receivedAll: received,
      sentAll: sent,
    };
    // Figures are two seconds apart: a rate is that of the last four.
    const before = this.#history.at(-4);
    if (before && time > before.time) {
      sample.received = rateOf(before.receivedAll, received, time - before.time);
      sample.sent = rateOf(before.sentAll, sent, time - before.time);
    }
    this.#history.push(sample);
    if (this.#history.length > HISTORY) this.#history.shift();
    this.#plots.forEach((plot) => plot.update(this.#history, time));
  }

  update(job) {
    const runs = !ENDED.has(job.state) && !job.removed_at && job.state !== "QUEUED";
    if (this.plots.hidden === runs) this.plots.hidden = !runs;
    this.#drawWhy(job);
    this.#drawFacts(job);
  }

  // --- why it has ended ---

  #drawWhy(job) {
    const lines = reasons(job);
    const drawn = JSON.stringify([lines, job.state, Boolean(job.removed_at)]);
    if (this.#why.dataset.drawn === drawn) return;
    this.#why.dataset.drawn = drawn;
    this.#why.replaceChildren();
    if (!lines.length) return;
    const kind = format.hasFailed(job) ? "problem" : "notice";
    const tail = h("pre.tail", {
      hidden: true,
      tabindex: "0",
      role: "region",
      "aria-label": "End of the standard error",
    });
    this.#why.append(
      h(
        `section.card.${kind}`,
        { "aria-label": "What happened" },
        ...lines.map((line, index) => h(index ? "p" : "h2", {}, line)),
        tail,
      ),
    );
    if (!format.hasFailed(job)) return;
    const reason = job.stderr || job.removed_at || job.agent === null ? null : this.#api.refusal("logs", { job });
    if (!reason) this.#tail(job, tail);
    else if (this.#api.caller)
      this.#why.firstChild.append(h("p", {}, `The end of its standard error: ${reason} `, tokenButton(this.#api)));
  }

  async #tail(job, element) {
    const text = job.stderr || (job.removed_at || job.agent === null ? null : await this.#readTail(job));
    if (!text) return;
    setText(element, text.trimEnd().split("\n").map(format.harmless).join("\n"));
    element.hidden = false;
  }

  async #readTail(job) {
    const path = `jobs/${encodeURIComponent(job.uid)}/logs`;
    const { signal } = this.#running;
    try {
      const { headers } = await this.#api.fetch("HEAD", path, { query: { stream: "stderr" }, signal });
      const [start, end] = [Number(headers.get("X-Pagent-Start")), Number(headers.get("X-Pagent-Offset"))];
      const offset = Math.max(start, end - TAIL_BYTES);
      return await (await this.#api.fetch("GET", path, { query: { stream: "stderr", offset }, signal })).text();
    } catch {
      return null; // The tab of the log says why.
    }
  }

  // --- facts ---

  #drawFacts(job) {
    const agent = this.#store.agents.get(job.agent);
    const drawn = JSON.stringify([job, agent?.name]);
    if (this.#facts.dataset.drawn === drawn) return;
    this.#facts.dataset.drawn = drawn;
    const rows = [];
    const row = (name, ...value) => {
      if (value.some((each) => each !== null && each !== "")) rows.push(h("dt", {}, name), h("dd", {}, ...value));
    };
    row("Uid", h("code", {}, format.harmless(job.uid)), copyButton(job.uid, "The uid"));
    row("Name", job.name ? format.shortened(job.name, 1024) : "");
    row(
      "Agent",
      job.agent
        ? h("a", { href: `#/agents/${encodeURIComponent(job.agent)}` }, format.shortened(agent?.name || job.agent))
        : "",
    );
    row("Pool", job.pool ? h("a", { href: "#/pools" }, format.shortened(job.pool)) : "");
    row("Owner", job.owner === null || job.owner === undefined ? "" : format.shortened(job.owner));
    row("Labels", labels(job));
    row("Ports", (job.ports ?? []).join(", "));
    row("Process", typeof job.pid === "number" ? String(job.pid) : "");
    row("Exit code", typeof job.exit_code === "number" ? String(job.exit_code) : "");
    row("Signal", job.signal ? format.harmless(job.signal) : "");
    row("Error", job.error ? format.shortened(job.error, 4096) : "");
    row("CPU time", ENDED.has(job.state) && typeof job.cpu_seconds === "number" ? format.latency(job.cpu_seconds) : "");
    for (const [name, key] of TIMES) row(name, time(job[key]));
    this.#facts.replaceChildren(h("h2", {}, "Facts"), h("dl.facts", {}, ...rows));
  }
}

const TIMES = [
  ["Created", "created_at"],
  ["Started", "started_at"],
  ["Ended", "finished_at"],
  ["Removed", "removed_at"],
  ["Last request", "last_request_at"],
  ["Last input", "last_input_at"],
];

function time(text) {
  return text ? h("time", { datetime: text }, `${format.localTime(text)} `, h("code.muted", {}, text)) : "";
}

function labels(job) {
  const all = Object.entries(job.labels ?? {});
  return all.length
    ? h(
        "span.chips",
        {},
        ...all.map(([name, value]) =>
          h("span.chip", {}, `${format.shortened(name, 80)}=${format.shortened(value, 256)}`),
        ),
      )
    : "";
}

function rateOf(before, after, seconds) {
  return typeof before === "number" && typeof after === "number" ? Math.max(0, after - before) / seconds : null;
}

// What happened, the most important first.
function reasons(job) {
  const lines = [];
  if (job.state === "QUEUED")
    return [
      `Waits for an agent of the pool ${format.shortened(job.pool ?? "")}`,
      format.shortened(job.message || "The engine has said nothing yet.", 1000),
    ];
  if (job.signal) lines.push(`Ended by ${format.harmless(job.signal)}`);
  else if (typeof job.exit_code === "number")
    lines.push(job.exit_code === 0 ? "Ended with exit code 0" : `Failed with exit code ${job.exit_code}`);
  const reason = format.reason(job);
  if (reason) lines.push(reason);
  if (job.removed_at) lines.push("The job is removed; this is what its agent remembers.");
  return lines;
}
