// The tabs of the page of a job. A part lives as long as that page, so that it keeps running while another tab is open.

import { empty } from "./chips.js";
import { h, setAttribute } from "./dom.js";
import { mountFiles } from "./files.js";
import { mountLog } from "./log.js";
import { mountSummary } from "./summary.js";
import { mountTerminal } from "./terminal.js";
import { mountTickets } from "./tickets.js";

// ``mount``: takes (element, job, api, app, onGo), and returns {end(), and perhaps key(key), update(job), show(path)}.
const TABS = {
  summary: { label: "Summary", mount: mountSummary },
  log: { label: "Log", mount: mountLog },
  files: {
    label: "Files",
    mount: (element, job, api, _, onGo) => inFolder(element, job, () => mountFiles(element, job, api, onGo)),
  },
  terminal: {
    label: "Terminal",
    mount: (element, job, api) => inFolder(element, job, () => ({ end: mountTerminal(element, job, api) })),
  },
  tickets: { label: "Tickets", mount: mountTickets },
};
const KEYS = Object.keys(TABS);

// Mount the parts that work in the folder of a job, if it has one.
function inFolder(element, job, mount) {
  if (!job.removed_at && job.state !== "QUEUED") return mount();
  element.append(empty(job.removed_at ? "The job is removed, and its folder with it" : "The job waits for an agent"));
  return { end() {} };
}

export class JobTabs {
  #app;
  #onShow;
  // By key, {panel, part, key, state, removed}: the state of the job when it was mounted.
  #mounted = new Map();

  // ``onShow(isReplaced)``: called when the reader has chosen a tab, or a folder; whether it takes the place of what the
  // address names now.
  constructor(app, onShow) {
    this.#app = app;
    this.#onShow = onShow;
    this.current = KEYS[0];
    // The folder that the files are of.
    this.path = "";
    this.list = h(
      "div.tabs",
      { role: "tablist", "aria-label": "Parts of the job" },
      ...KEYS.map((key, index) => this.#button(key, index)),
    );
    this.list.addEventListener("keydown", (event) => this.#listKey(event));
    this.panels = h("div.panels");
  }

  // Make a tab the current one; the first one if there is none of that name. ``path``: the folder of the files.
  choose(key, path) {
    this.current = KEYS.includes(key) ? key : KEYS[0];
    if (this.current === "files") this.path = path;
  }

  // The part of the address that names the current tab and its folder.
  get address() {
    return this.current === "files" && this.path ? `files/${encodeURIComponent(this.path)}` : this.current;
  }

  #button(key, index) {
    const { label } = TABS[key];
    const properties = {
      type: "button",
      role: "tab",
      id: `tab-${key}`,
      "data-tab": key,
      title: `${label} (${index + 1})`,
    };
    return h("button", { ...properties, onclick: () => this.#show(key) }, label);
  }

  #show(key) {
    this.choose(key, this.path);
    this.#onShow(true);
  }

  #listKey(event) {
    const at = KEYS.indexOf(this.current);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: KEYS.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.#show(KEYS[(next + KEYS.length) % KEYS.length]);
    this.list.children[KEYS.indexOf(this.current)].focus();
  }

  // Take a key of the page: a number is that of a tab, others are those of the current part. Return whether it was one.
  key(key) {
    const at = Number(key) - 1;
    if (!KEYS[at]) return Boolean(this.#mounted.get(this.current)?.part.key?.(key));
    this.#show(KEYS[at]);
    this.list.children[at].focus();
    return true;
  }

  draw(job) {
    this.#mount(job);
    for (const button of this.list.children) {
      const key = button.dataset.tab;
      const isOn = key === this.current;
      setAttribute(button, "aria-selected", String(isOn));
      setAttribute(button, "tabindex", isOn ? "0" : "-1");
      setAttribute(button, "aria-controls", this.#mounted.has(key) ? `panel-${key}` : null);
    }
    for (const [key, { panel, part }] of this.#mounted) {
      panel.hidden = key !== this.current;
      if (panel.hidden) continue;
      part.update?.(job);
      part.show?.(this.path);
    }
  }

  #mount(job) {
    const key = this.current;
    const known = this.#mounted.get(key);
    if (known && !isOutdated(known, job)) return;
    if (known) this.#end(key);
    const properties = { id: `panel-${key}`, "aria-labelledby": `tab-${key}`, "data-panel": key };
    const panel = h("section.panel", { role: "tabpanel", ...properties });
    this.panels.append(panel);
    const onGo = (path, isReplaced) => {
      this.choose("files", path);
      this.#onShow(isReplaced);
    };
    const part = TABS[key].mount(panel, job, this.#app.api, this.#app, onGo);
    this.#mounted.set(key, { panel, part, key, state: job.state, removed: Boolean(job.removed_at) });
  }

  #end(key) {
    const { panel, part } = this.#mounted.get(key);
    part.end();
    panel.remove();
    this.#mounted.delete(key);
  }

  // End all parts.
  end() {
    for (const key of [...this.#mounted.keys()]) this.#end(key);
  }

  // End the parts, which may be allowed more or less now. A terminal that runs, and is still allowed, stays.
  rightsChanged(job) {
    for (const [key, { state }] of [...this.#mounted]) {
      const goesOn = key === "terminal" && state === "RUNNING" && job && !this.#app.api.refusal("exec", { job });
      if (!goesOn) this.#end(key);
    }
  }
}

// A log and a terminal wait for the start of the job, and keep their display when it is gone.
function isOutdated({ key, state, removed }, job) {
  if (key === "summary") return false;
  if ((state === "QUEUED") !== (job.state === "QUEUED")) return true;
  if (key === "files" || key === "tickets") return removed !== Boolean(job.removed_at);
  return state !== job.state && state !== "RUNNING";
}
