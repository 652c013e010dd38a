// The page of one job: its name, its state, its actions, its figures, and its tabs.

import { killJob, openJob, refusals, removeJob } from "./actions.js";
import { allow, copyButton, empty, setState, shade, whenAllowed } from "./chips.js";
import { framed, h, icon, setText } from "./dom.js";
import * as format from "./format.js";
import { JobTabs } from "./job_tabs.js";
import { CPU, ENDED, MEMORY, RECEIVED, SENT, STREAMS } from "./state.js";

const REFRESH_MS = 1000;

export function mountJob(element, app, parts) {
  return new JobView(element, app, parts);
}

class JobView {
  #app;
  #element;
  #uid;
  #tabs;
  #parts = {};
  #ends = [];
  #missing = null;
  #isAsking = false;
  #rights;
  #fill;
  #listeners = new AbortController();

  constructor(element, app, [uid, tab, ...folder]) {
    this.#app = app;
    this.#element = element;
    this.#uid = uid;
    this.#tabs = new JobTabs(app, (isReplaced) => this.#shown(isReplaced));
    this.#tabs.choose(tab, folder.join("/"));
    this.#rights = JSON.stringify(app.api.caller);
    this.#build();
    this.#fill = framed(() => this.#draw());
    const timer = setInterval(this.#fill, REFRESH_MS);
    this.#ends.push(
      app.store.on("jobs ended agents figures", this.#fill),
      () => clearInterval(timer),
      () => this.#fill.cancel(),
    );
    const { signal } = this.#listeners;
    app.api.addEventListener("token", () => this.#rightsChanged(), { signal });
    element.addEventListener("pagent-key", (event) => this.#key(event), { signal });
    app.live.addEventListener("change", () => this.#connected(), { signal });
    this.#ask();
    this.#draw();
  }

  get #job() {
    return this.#app.store.job(this.#uid);
  }

  get title() {
    return this.#job ? format.jobName(this.#job) : format.shortUid(this.#uid);
  }

  end() {
    this.#listeners.abort();
    this.#ends.forEach((end) => end());
    this.#tabs.end();
  }

  // Another tab of the same job, or another folder.
  update([uid, tab, ...folder]) {
    if (uid !== this.#uid) return false;
    this.#tabs.choose(tab, folder.join("/"));
    this.#draw();
    return true;
  }

  // --- the job ---

  // The store has the job as of its last change; its GET has the present figures. A job that is gone is in the other list.
  async #ask() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const { api, store } = this.#app;
    try {
      store.jobSeen(await api.get(`jobs/${encodeURIComponent(this.#uid)}`));
    } catch (error) {
      if (error.status !== 404) {
        this.#missing = error;
      } else await this.#askEnded(error);
    }
    this.#isAsking = false;
    this.#fill();
  }

  async #askEnded(missing) {
    const { api, store } = this.#app;
    try {
      store.endedListed(await api.all("jobs", "jobs", { ended: "true" }));
      if (!this.#job) this.#missing = missing;
    } catch (error) {
      this.#missing = error;
    }
  }

  // A router that answers again may have the job.
  #connected() {
    if (this.#app.live.state !== "live" || !this.#missing) return;
    this.#missing = null;
    this.#fill();
  }

  // --- the frame ---

  #build() {
    const parts = this.#parts;
    const button = (action, label, name, listener, kind = "") =>
      h(
        `button${kind}`,
        { type: "button", "data-action": action, onclick: whenAllowed(listener) },
        icon(name),
        h("span", {}, label),
      );
    parts.name = h("h1");
    parts.state = h("span.state");
    parts.outcome = h("span.muted");
    parts.open = button("open", "Open", "open", () => openJob(this.#app.api, this.#job), ".primary");
    parts.ports = h("span.ports");
    parts.kill = button("kill", "Signal…", "stop", () => killJob(this.#app.api, this.#job));
    parts.remove = button("remove", "Remove…", "trash", () => this.#remove(), ".danger-plain");
    parts.actions = h(
      "div.actions",
      { role: "group", "aria-label": "Actions" },
      parts.open,
      parts.ports,
      parts.kill,
      parts.remove,
    );
    parts.uid = h("code");
    parts.facts = h("dl.figures", { "aria-label": "Figures" });
    parts.whole = h(
      "div.job",
      {},
      h("div.view-head", {}, h("div.job-title", {}, parts.name, parts.state, parts.outcome), parts.actions),
      h("p.job-uid", {}, parts.uid, copyButton(this.#uid, "The uid")),
      parts.facts,
      this.#tabs.list,
      this.#tabs.panels,
    );
    parts.empty = h("div");
    this.#element.append(
      h("nav.crumbs", { "aria-label": "Where this is" }, h("a", { href: "#/jobs" }, "Jobs")),
      parts.empty,
      parts.whole,
    );
    for (const name of FIGURES.keys())
      parts.facts.append(h("div.figure", { "data-figure": name.toLowerCase() }, h("dt", {}, name), h("dd")));
  }

  #key(event) {
    const { key } = event.detail;
    if (key === "u") this.#app.goTo("jobs");
    else if (!this.#tabs.key(key)) return;
    event.preventDefault();
  }

  #shown(isReplaced) {
    const address = `#/jobs/${encodeURIComponent(this.#uid)}/${this.#tabs.address}`;
    if (isReplaced) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#draw();
  }

  async #remove() {
    const isQueued = this.#job.state === "QUEUED"; // its agent will not remember it
    if ((await removeJob(this.#app.api, this.#job)) && isQueued) this.#app.goTo("jobs");
  }

  // --- drawing ---

  #draw() {
    const job = this.#job;
    this.#parts.whole.hidden = !job;
    this.#parts.whole.dataset.tab = this.#tabs.current;
    this.#drawMissing(job);
    if (!job) return;
    this.#drawHead(job);
    this.#drawFigures(job);
    this.#tabs.draw(job);
  }

  #drawMissing(job) {
    const { empty: place } = this.#parts;
    if (job) this.#missing = null;
    else if (!this.#missing) this.#ask(); // it is gone since, with its router or its agent
    const is = job ? "" : this.#missing ? "missing" : "asking";
    if (place.dataset.is === is) return;
    place.dataset.is = is;
    place.replaceChildren();
    if (is === "asking") place.append(empty("Asking for the job…"));
    else if (is) {
      const why = this.#missing.requestId
        ? `${this.#missing.message} (request ${this.#missing.requestId})`
        : this.#missing.message;
      place.append(empty("The job is not here", h("p", {}, why), h("p", {}, h("a", { href: "#/jobs" }, "All jobs"))));
    }
  }

  #drawHead(job) {
    const { store, api } = this.#app;
    const { name, state, outcome, uid, ports } = this.#parts;
    const text = format.jobName(job);
    if (name.textContent !== text) {
      setText(name, text);
      this.#app.titled(text);
    }
    setState(state, shade(store.stateOf(job), job));
    setText(outcome, format.outcome(job) ?? "");
    setText(uid, format.harmless(job.uid));
    const reasons = refusals(job, api);
    for (const action of ["open", "kill", "remove"]) allow(this.#parts[action], reasons[action]);
    setText(this.#parts.remove.lastElementChild, job.state === "QUEUED" ? "Cancel…" : "Remove…");
    this.#drawPorts(ports, job, reasons.open);
  }

  // A button for each further port.
  #drawPorts(place, job, reason) {
    const more = (job.ports ?? []).slice(1);
    if (place.dataset.drawn !== more.join()) {
      place.dataset.drawn = more.join();
      place.replaceChildren(
        ...more.map((port) =>
          h(
            "button",
            {
              type: "button",
              "data-port": port,
              "data-hint": `Open port ${port}`,
              onclick: whenAllowed(() => openJob(this.#app.api, this.#job, port)),
            },
            `:${port}`,
          ),
        ),
      );
    }
    for (const button of place.children) allow(button, reason);
  }

  #drawFigures(job) {
    const { facts } = this.#parts;
    [...FIGURES.values()].forEach((textOf, index) =>
      setText(facts.children[index].lastElementChild, textOf(job, this.#app.store)),
    );
    setText(facts.firstElementChild.firstElementChild, ENDED.has(job.state) ? "Ran for" : "Age");
  }

  #rightsChanged() {
    const rights = JSON.stringify(this.#app.api.caller);
    if (rights === this.#rights) return;
    this.#rights = rights;
    this.#tabs.rightsChanged(this.#job);
    this.#fill();
  }
}

const FIGURES = new Map([
  ["Age", (job, store) => (ENDED.has(job.state) ? format.spent : format.duration)(store.age(job))],
  ["CPU", (job, store) => format.cores(store.figure(job, CPU))],
  ["Memory", (job, store) => format.bytes(store.figure(job, MEMORY))],
  ["Streams", (job, store) => format.count(store.figure(job, STREAMS))],
  ["Received", (job, store) => format.bytes(store.figure(job, RECEIVED))],
  ["Sent", (job, store) => format.bytes(store.figure(job, SENT))],
  ["Idle", (job, store) => format.duration(store.idle(job))],
]);
