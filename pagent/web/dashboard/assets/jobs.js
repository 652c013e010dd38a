// The view of all jobs: those that exist or wait, and those that are gone.

import { shade, stateWord } from "./chips.js";
import { announce, failure } from "./dialog.js";
import { framed, h, icon, setAttribute, setText } from "./dom.js";
import { Filter } from "./filter.js";
import { emptyJobs } from "./first_steps.js";
import * as format from "./format.js";
import { currentColumns, endedColumns } from "./job_columns.js";
import { STATES, tally } from "./state.js";
import { Table } from "./table.js";

const REFRESH_MS = 1000;
const TYPED_MS = 400;
const FILL_MS = 250;

// The state of the view when it was left; it is restored on return.
const remembered = {
  query: "",
  ended: false,
  state: null,
  sort: { current: { key: "age", descending: false }, ended: { key: "end", descending: true } },
  scroll: 0,
};

// Take the filters from the address. An address without any is a link to the view, unless the view has written it.
function readAddress() {
  const words = location.hash.split("?")[1] ?? "";
  if (!words && !history.state?.isJobs) return;
  const given = new URLSearchParams(words);
  const state = given.get("state");
  Object.assign(remembered, {
    query: given.get("q") ?? "",
    state: state === "FAILED" || STATES.includes(state) ? state : null,
    ended: given.has("ended"),
  });
  if (!history.state?.isJobs) remembered.scroll = 0;
}

function writeAddress() {
  const { query, state, ended } = remembered;
  const words = new URLSearchParams({ ...(query && { q: query }), ...(state && { state }), ...(ended && { ended: 1 }) });
  history.replaceState({ isJobs: true }, "", `#/jobs${String(words) && `?${words}`}`);
}

export function mountJobs(element, app) {
  return new JobsView(element, app);
}

class JobsView {
  title = "Jobs";
  #app;
  #element;
  #table = null;
  #tableFor = null;
  #filter = new Filter("");
  #ends = [];
  #timers = [];
  #search;
  #chips;
  #kinds;
  #sortField;
  #direction;
  #place;
  #summary;
  #refresh;

  constructor(element, app) {
    this.#app = app;
    this.#element = element;
    readAddress();
    this.#build();
    this.#refresh = framed(() => this.#fill(), FILL_MS);
    this.#ends.push(app.store.on("jobs agents figures ended clock", this.#refresh));
    this.#timers.push(setInterval(() => this.#table?.draw(), REFRESH_MS));
    this.#key = (event) => this.#onKey(event);
    element.addEventListener("pagent-key", this.#key);
    this.#switchTo(remembered.ended, false);
    this.#fill();
    writeAddress();
    if (this.#table)
      requestAnimationFrame(() => {
        this.#table.element.scrollTop = remembered.scroll;
      });
  }

  #key;

  end() {
    remembered.scroll = this.#table.scrollTop;
    this.#element.removeEventListener("pagent-key", this.#key);
    this.#ends.forEach((end) => end());
    this.#timers.forEach(clearInterval);
    this.#refresh.cancel();
    this.#table.end();
  }

  #build() {
    this.#search = h("input", {
      type: "search",
      id: "filter",
      placeholder: "Filter: name, uid, agent:…, owner:…, label=value",
      "aria-label": "Filter the jobs",
      autocomplete: "off",
      spellcheck: "false",
      value: remembered.query,
      oninput: () => this.#typed(),
    });
    this.#search.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#search.value) {
        event.preventDefault();
        this.#search.value = "";
        this.#typed();
      } else if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault();
        this.#table.handleKey("ArrowDown");
      }
    });
    this.#filter = new Filter(remembered.query);
    const kind = (ended, label) =>
      h("button", { type: "button", "data-ended": String(ended), onclick: () => this.#switchTo(ended) }, label);
    this.#kinds = h(
      "div.segments",
      { role: "group", "aria-label": "Which jobs" },
      kind(false, "Current"),
      kind(true, "Ended"),
    );
    this.#chips = h("div.state-filter", { role: "group", "aria-label": "Only jobs in a state" });
    this.#sortField = h("select", {
      "aria-label": "Sort by",
      onchange: (event) => this.#table.sortBy(event.target.value),
    });
    this.#direction = h("button.icon-button", {
      type: "button",
      onclick: () => this.#table.sortBy(this.#table.sort.key),
    });
    this.#summary = h("p.count", { id: "job-count" });
    this.#place = h("div.table-place");
    this.#element.append(
      h("div.view-head", {}, h("h1", {}, "Jobs"), this.#summary, this.#kinds),
      h(
        "div.filters",
        { role: "search" },
        this.#search,
        h("div.sort-field", {}, h("span", {}, "Sort"), this.#sortField, this.#direction),
      ),
      this.#chips,
      this.#place,
    );
  }

  #typed() {
    remembered.query = this.#search.value;
    this.#filter = new Filter(remembered.query);
    this.#fill();
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => {
      writeAddress();
      announce(this.#summary.textContent);
    }, TYPED_MS);
  }

  #saying = null;

  #onKey(event) {
    const { key } = event.detail;
    if (key === "/") this.#search.focus();
    else if (!this.#table.handleKey(key)) return;
    event.preventDefault();
  }

  #switchTo(ended, fill = true) {
    if (remembered.ended !== ended) remembered.state = null;
    remembered.ended = ended;
    for (const button of this.#kinds.children)
      setAttribute(button, "aria-pressed", String(button.dataset.ended === String(ended)));
    this.#makeTable(ended);
    if (ended) this.#loadEnded();
    if (!fill) return;
    writeAddress();
    this.#fill();
  }

  async #loadEnded() {
    try {
      this.#app.store.endedListed(await this.#app.api.all("jobs", "jobs", { ended: "true" }));
    } catch (error) {
      if (error.status !== 401) failure("The ended jobs could not be listed.", error);
    }
  }

  #makeTable(ended) {
    if (this.#tableFor === ended) return;
    this.#tableFor = ended;
    this.#table?.end();
    const which = ended ? "ended" : "current";
    this.#table = new Table({
      name: ended ? "ended" : "jobs",
      label: ended ? "Ended jobs" : "Current jobs",
      columns: (ended ? endedColumns : currentColumns)(this.#app.store),
      sort: remembered.sort[which],
      keyOf: (job) => job.uid,
      onOpen: (job) => this.#app.goTo(`jobs/${encodeURIComponent(job.uid)}`),
      onSort: (sort) => {
        remembered.sort[which] = sort;
        this.#drawSort(sort);
      },
      onRow: (row, job) => setAttribute(row, "data-waits", job.state === "QUEUED" ? "" : null),
    });
    this.#sortField.replaceChildren(
      ...this.#table.columns.map(({ key, label }) =>
        h("option", { value: key, selected: key === this.#table.sort.key }, label),
      ),
    );
    this.#place.replaceChildren(this.#table.element);
    this.#drawSort(this.#table.sort);
  }

  #drawSort({ key, descending }) {
    this.#sortField.value = key;
    setAttribute(
      this.#direction,
      "aria-label",
      descending ? "Descending. Sort ascending" : "Ascending. Sort descending",
    );
    this.#direction.replaceChildren(icon(descending ? "down" : "up"));
  }

  #fill() {
    const { store } = this.#app;
    const all = [...(remembered.ended ? store.ended : store.jobs).values()];
    const shadeOf = (job) => shade(store.stateOf(job), job);
    const found = all.filter((job) => this.#filter.fits(job, store));
    const counts = tally(found.map(shadeOf));
    if (remembered.state && !counts.has(remembered.state)) counts.set(remembered.state, 0);
    this.#drawChips(counts);
    const rows = remembered.state ? found.filter((job) => shadeOf(job) === remembered.state) : found;
    this.#table.rows = rows;
    setText(
      this.#summary,
      rows.length === all.length
        ? format.count(all.length)
        : `${format.count(rows.length)} of ${format.count(all.length)}`,
    );
    this.#drawEmpty(all.length, rows.length);
  }

  #drawChips(counts) {
    const order = [...STATES, "FAILED"].filter((state) => counts.has(state));
    const wanted = order.map((state) => `${state} ${counts.get(state)} ${state === remembered.state}`).join();
    if (this.#chips.dataset.drawn === wanted) return;
    this.#chips.dataset.drawn = wanted;
    const focused = this.#chips.contains(document.activeElement) ? document.activeElement.dataset.state : null;
    this.#chips.replaceChildren(...order.map((state) => this.#chip(state, counts.get(state))));
    if (focused) this.#chips.querySelector(`[data-state="${focused}"]`)?.focus();
  }

  #chip(state, number) {
    const isOn = remembered.state === state;
    const toggle = () => {
      remembered.state = isOn ? null : state;
      writeAddress();
      this.#fill();
    };
    return h(
      "button.state",
      { type: "button", "data-state": state, "aria-pressed": String(isOn), onclick: toggle },
      h("span.dot", { "aria-hidden": "true" }),
      h("span", {}, stateWord(state)),
      h("span.number", {}, format.count(number)),
    );
  }

  #drawEmpty(all, rows) {
    const { store } = this.#app;
    const is = rows
      ? ""
      : all
        ? "none"
        : !store.isListed
          ? "loading"
          : remembered.ended
            ? "ended"
            : store.agents.size
              ? "jobs"
              : "agents";
    if (this.#place.dataset.empty === is) return;
    this.#place.dataset.empty = is;
    this.#place.querySelector(".empty")?.remove();
    if (is) this.#place.append(emptyJobs(is, () => this.#clear()));
  }

  #clear() {
    remembered.state = null;
    this.#search.value = "";
    this.#typed();
    this.#search.focus();
  }
}
