// The page of one job: its facts, its log, its files, a terminal, its tickets.

import { killJob, openJob, refusals, removeJob } from "./actions.js";
import { allow, copyButton, empty, setState, shade, whenAllowed } from "./chips.js";
import { framed, h, icon, setAttribute, setText } from "./dom.js";
import { mountFiles } from "./files.js";
import * as format from "./format.js";
import { mountLog } from "./log.js";
import { CPU, ENDED, MEMORY, RECEIVED, SENT, STREAMS } from "./state.js";
import { mountSummary } from "./summary.js";
import { mountTerminal } from "./terminal.js";
import { mountTickets } from "./tickets.js";

const REFRESH_MS = 1000;

// The tabs. A part is kept as long as the page of the job, so that a terminal goes on while another tab is open.
// ``mount``: takes (element, job, api, app), and returns {end(), and perhaps key(key), update(job)}.
const TABS = {
  summary: { label: "Summary", mount: mountSummary },
  log: { label: "Log", mount: mountLog },
  files: { label: "Files", mount: (element, job, api) => inFolder(element, job, api, mountFiles) },
  terminal: { label: "Terminal", mount: (element, job, api) => inFolder(element, job, api, mountTerminal) },
  tickets: { label: "Tickets", mount: mountTickets },
};

// Mount what works in the folder of a job, if it has one.
function inFolder(element, job, api, mount) {
  if (!job.removed_at && job.state !== "QUEUED") return { end: mount(element, job, api) };
  element.append(empty(job.removed_at ? "The job is removed, and its folder with it" : "The job waits for an agent"));
  return { end() {} };
}

export function mountJob(element, app, parts) {
  return new JobView(element, app, parts);
}

class JobView {
  #app;
  #element;
  #uid;
  #tab;
  #parts = {};
  #mounted = new Map();
  #ends = [];
  #missing = null;
  #isAsking = false;
  #rights;
  #fill;
  #listeners = new AbortController();

  constructor(element, app, [uid, tab]) {
    this.#app = app;
    this.#element = element;
    this.#uid = uid;
    this.#tab = tab in TABS ? tab : "summary";
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
    this.#unmount();
  }

  // Another tab of the same job.
  update([uid, tab]) {
    if (uid !== this.#uid) return false;
    this.#tab = tab in TABS ? tab : "summary";
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
    parts.tabs = h(
      "div.tabs",
      { role: "tablist", "aria-label": "Parts of the job" },
      ...Object.entries(TABS).map(([key, { label }], index) => this.#tabButton(key, label, index)),
    );
    parts.tabs.addEventListener("keydown", (event) => this.#tabKey(event));
    parts.panels = h("div.panels");
    parts.whole = h(
      "div.job",
      {},
      h("div.view-head", {}, h("div.job-title", {}, parts.name, parts.state, parts.outcome), parts.actions),
      h("p.job-uid", {}, parts.uid, copyButton(this.#uid, "The uid")),
      parts.facts,
      parts.tabs,
      parts.panels,
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

  #tabButton(key, label, index) {
    return h(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${key}`,
        "data-tab": key,
        title: `${label} (${index + 1})`,
        onclick: () => this.#show(key),
      },
      label,
    );
  }

  #show(key) {
    history.replaceState(null, "", `#/jobs/${encodeURIComponent(this.#uid)}/${key}`);
    this.#tab = key;
    this.#draw();
  }

  #tabKey(event) {
    const keys = Object.keys(TABS);
    const at = keys.indexOf(this.#tab);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: keys.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.#show(keys[(next + keys.length) % keys.length]);
    document.getElementById(`tab-${this.#tab}`).focus();
  }

  #key(event) {
    const { key } = event.detail;
    const tab = Object.keys(TABS)[Number(key) - 1];
    if (tab) {
      this.#show(tab);
      document.getElementById(`tab-${tab}`).focus();
    } else if (key === "u") this.#app.goTo("jobs");
    else if (!this.#mounted.get(this.#tab)?.part.key?.(key)) return;
    event.preventDefault();
  }

  async #remove() {
    if ((await removeJob(this.#app.api, this.#job)) && this.#job?.state === "QUEUED") this.#app.goTo("jobs");
  }

  // --- drawing ---

  #draw() {
    const job = this.#job;
    this.#parts.whole.hidden = !job;
    this.#parts.whole.dataset.tab = this.#tab;
    this.#drawMissing(job);
    if (!job) return;
    this.#drawHead(job);
    this.#drawFigures(job);
    this.#drawTabs(job);
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

  #drawTabs(job) {
    for (const button of this.#parts.tabs.children) {
      const isOn = button.dataset.tab === this.#tab;
      setAttribute(button, "aria-selected", String(isOn));
      setAttribute(button, "tabindex", isOn ? "0" : "-1");
      setAttribute(
        button,
        "aria-controls",
        this.#mounted.has(button.dataset.tab) ? `panel-${button.dataset.tab}` : null,
      );
    }
    this.#mount(job);
    for (const [key, { panel, part }] of this.#mounted) {
      panel.hidden = key !== this.#tab;
      if (!panel.hidden) part.update?.(job);
    }
  }

  #mount(job) {
    const known = this.#mounted.get(this.#tab);
    if (known && !isOutdated(known, job)) return;
    if (known) this.#unmountOne(this.#tab);
    const panel = h("section.panel", {
      role: "tabpanel",
      id: `panel-${this.#tab}`,
      "aria-labelledby": `tab-${this.#tab}`,
      "data-panel": this.#tab,
    });
    this.#parts.panels.append(panel);
    setAttribute(document.getElementById(`tab-${this.#tab}`), "aria-controls", panel.id);
    const part = TABS[this.#tab].mount(panel, job, this.#app.api, this.#app);
    this.#mounted.set(this.#tab, { panel, part, key: this.#tab, state: job.state, removed: Boolean(job.removed_at) });
  }

  #unmountOne(key) {
    const { panel, part } = this.#mounted.get(key);
    part.end();
    panel.remove();
    this.#mounted.delete(key);
  }

  #unmount() {
    for (const key of [...this.#mounted.keys()]) this.#unmountOne(key);
  }

  // A part that was refused may be allowed now. A terminal that runs goes on.
  #rightsChanged() {
    const rights = JSON.stringify(this.#app.api.caller);
    if (rights === this.#rights) return;
    this.#rights = rights;
    for (const [key, { state }] of [...this.#mounted]) {
      if (!(
        key === "terminal" &&
        state === "RUNNING" &&
        this.#job &&
        !this.#app.api.refusal("exec", { job: this.#job })
      ))
        this.#unmountOne(key);
    }
    this.#fill();
  }
}

// A log and a terminal wait for the start of the job, and keep what they display when it is gone.
function isOutdated({ key, state, removed }, job) {
  if (key === "summary") return false;
  if ((state === "QUEUED") !== (job.state === "QUEUED")) return true;
  if (key === "files" || key === "tickets") return removed !== Boolean(job.removed_at);
  return state !== job.state && state !== "RUNNING";
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
