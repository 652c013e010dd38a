// The first view: totals, live plots, the hosts, and the latest events.

import { setState, shade, stateWord } from "./chips.js";
import { framed, h, keepFocus, setText } from "./dom.js";
import { noAgents, noJobs } from "./first_steps.js";
import * as format from "./format.js";
import { hostMeters, refreshing, stateOf } from "./hosts.js";
import { lastError } from "./job_columns.js";
import { Plot } from "./plot.js";
import { STATES, tally } from "./state.js";

const HOSTS_MAX = 8;
const FILL_MS = 250;
const EVENTS_MAX = 12;

const PLOTS = [
  {
    id: "requests",
    title: "Requests per second",
    least: 10,
    text: format.perSecond,
    series: [{ name: "Requests", color: 1, value: (sample) => sample.requests_per_s }],
  },
  {
    id: "latency",
    title: "Latency",
    least: 0.01,
    text: format.latency,
    series: [
      { name: "p50", color: 1, value: (sample) => sample.latency_p50_s },
      { name: "p99", color: 2, value: (sample) => sample.latency_p99_s },
    ],
  },
  {
    id: "throughput",
    title: "Throughput",
    least: 1e5,
    text: format.rate,
    series: [
      { name: "in", color: 1, value: (sample) => sample.received_per_s },
      { name: "out", color: 3, value: (sample) => sample.sent_per_s },
    ],
  },
  {
    id: "streams",
    title: "Open streams",
    least: 4,
    text: format.count,
    series: [{ name: "Streams", color: 4, value: (sample) => sample.streams }],
  },
  {
    id: "jobs",
    title: "Jobs",
    least: 4,
    text: format.count,
    series: [{ name: "Jobs", color: 3, value: (sample) => sample.jobs }],
  },
  {
    id: "cpu",
    title: "CPU of this process",
    least: 0.04,
    text: format.cores,
    series: [{ name: "CPU", color: 2, value: (sample) => sample.cpu }],
  },
];

export function mountOverview(element, app) {
  const { store } = app;
  const totals = h("ul.totals", { "aria-label": "Totals" });
  const plots = PLOTS.map((each) => new Plot(each));
  const hosts = h("section.card.hosts", { "aria-labelledby": "hosts-title" });
  const events = h("section.card.events", { "aria-labelledby": "events-title" });
  const start = h("div.start");
  element.append(
    h("h1.unseen", {}, "Overview"),
    totals,
    start,
    h("section.plots", { "aria-label": "The last five minutes" }, ...plots.map((plot) => plot.element)),
    h("div.columns", {}, hosts, events),
  );
  const drawTotals = framed(() => fillTotals(totals, store), FILL_MS);
  const drawHosts = framed(() => {
    keepFocus(hosts, () => fillHosts(hosts, store));
    fillStart(start, store);
  }, FILL_MS);
  const rows = new Map();
  const drawEvents = framed(() => fillEvents(events, store, rows), FILL_MS);
  const sample = () => {
    const now = store.samples.at(-1)?.time ?? store.now();
    plots.forEach((plot) => plot.update(store.samples, now));
    drawTotals();
  };
  const ends = [
    store.on("jobs agents", drawTotals),
    store.on("agents jobs", drawHosts),
    store.on("activity", drawEvents),
    store.on("sample", sample),
    refreshing(app),
  ];
  [drawTotals, drawHosts, drawEvents, sample].forEach((draw) => draw());
  return {
    title: "Overview",
    end() {
      ends.forEach((end) => end());
      [drawTotals, drawHosts, drawEvents].forEach((draw) => draw.cancel());
      plots.forEach((plot) => plot.end());
    },
  };
}

// --- totals ---

function fillTotals(list, store) {
  const states = tally([...store.jobs.values()].map((job) => shade(store.stateOf(job), job)));
  const away = [...store.agents.values()].filter((agent) => agent.awaySince !== undefined).length;
  const cordoned = [...store.agents.values()].filter((agent) => agent.cordoned).length;
  const agents = store.agents.size - away;
  const notes = [away ? `${away} away` : "", cordoned ? `${cordoned} cordoned` : ""].filter(Boolean).join(", ");
  const newest = store.samples.at(-1);
  const items = [
    ["agents", "#/agents", "Agents", format.count(agents), notes],
    ["jobs", "#/jobs", "Jobs", format.count(store.jobs.size), stateNotes(states)],
    ["streams", null, "Streams", format.count(newest?.streams), ""],
    ["memory", null, "Memory of this process", format.bytes(newest?.memory), ""],
  ];
  while (list.children.length < items.length)
    list.append(h("li", {}, h("a.total", {}, h("span.total-name"), h("span.total-value"), h("span.total-note"))));
  items.forEach(([id, href, name, value, note], index) => {
    const link = list.children[index].firstElementChild;
    if (link.dataset.total !== id) {
      link.dataset.total = id;
      if (href) link.setAttribute("href", href);
      setText(link.children[0], name);
    }
    setText(link.children[1], store.isListed || id === "streams" || id === "memory" ? value : format.NONE);
    setText(link.children[2], note);
  });
}

function stateNotes(states) {
  return [...STATES, "FAILED"]
    .filter((state) => states.get(state))
    .map((state) => `${format.count(states.get(state))} ${stateWord(state).toLowerCase()}`)
    .join(", ");
}

// --- the first steps ---

function fillStart(place, store) {
  const is = !store.isListed ? "" : store.agents.size === 0 ? "agents" : store.jobs.size === 0 ? "jobs" : "";
  if (place.dataset.is === is) return;
  place.dataset.is = is;
  place.replaceChildren(...(is === "agents" ? [noAgents()] : is === "jobs" ? [noJobs()] : []));
}

// --- hosts ---

function fillHosts(section, store) {
  const all = [...store.agents.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  section.hidden = all.length === 0;
  if (section.hidden) return;
  const rows = all.slice(0, HOSTS_MAX).map((agent) => host(agent));
  const more =
    all.length > HOSTS_MAX ? h("a.more", { href: "#/agents" }, `All ${format.count(all.length)} agents`) : null;
  section.replaceChildren(
    h("h2", { id: "hosts-title" }, all.length === 1 ? "Host" : "Hosts"),
    h("ul.host-list", {}, ...rows),
    ...(more ? [more] : []),
  );
}

function host(agent) {
  const [state, word] = stateOf(agent);
  return h(
    "li.host",
    {},
    h(
      "div.host-name",
      {},
      h("a", { href: `#/agents/${encodeURIComponent(agent.uid)}` }, format.shortened(agent.name || agent.uid, 80)),
      state === "ready" ? null : h("span.tag", { "data-tag": state }, word),
      h("span.muted", {}, format.plural(agent.jobs ?? 0, "job")),
    ),
    hostMeters(agent),
  );
}

// --- events ---

const WORDS = {
  "agent.up": "connected",
  "agent.down": "lost its link",
  "agent.cordoned": "",
  "agent.conflict": "is named by two agents",
  "job.created": "was created",
  "job.removed": "was removed",
  "ticket.created": "A ticket was made",
  "ticket.revoked": "A ticket was revoked",
};

// An event does not change: its row is made once. ``rows``: those that are drawn, by event.
function fillEvents(section, store, rows) {
  if (!section.firstChild) {
    section.append(
      h("h2", { id: "events-title" }, "Recent events"),
      h("ol.event-list"),
      h("p.muted", {}, "Nothing has happened since this page was opened."),
    );
  }
  const [, list, nothing] = section.children;
  const events = store.activity.slice(0, EVENTS_MAX);
  nothing.hidden = events.length > 0;
  for (const [event, row] of rows) {
    if (events.includes(event)) continue;
    row.remove();
    rows.delete(event);
  }
  for (const event of events.filter((each) => !rows.has(each)).reverse()) {
    const row = eventRow(event, store);
    rows.set(event, row);
    list.prepend(row);
  }
}

function eventRow({ time, name, data }, store) {
  const row = h(
    "li.event",
    {},
    h(
      "time",
      { datetime: new Date(time * 1000).toISOString(), title: format.localTime(new Date(time * 1000).toISOString()) },
      format.clockTime(time),
    ),
  );
  const [subject] = name.split(".");
  if (subject === "agent") {
    const word = name === "agent.cordoned" ? (data.cordoned ? "is cordoned" : "takes jobs again") : WORDS[name];
    row.append(
      h(
        "span",
        {},
        "Agent ",
        h("a", { href: `#/agents/${encodeURIComponent(data.uid)}` }, format.shortened(data.name || data.uid, 60)),
        ` ${word}`,
      ),
    );
  } else if (subject === "job") row.append(jobEvent(name, data));
  else {
    const job = store.job(data.job);
    row.append(
      h(
        "span",
        {},
        `${WORDS[name]} for `,
        h(
          "a",
          { href: `#/jobs/${encodeURIComponent(data.job)}/tickets` },
          job ? format.jobName(job) : format.shortUid(data.job),
        ),
      ),
    );
  }
  return row;
}

function jobEvent(name, job) {
  const link = h("a", { href: `#/jobs/${encodeURIComponent(job.uid)}` }, format.jobName(job));
  if (name !== "job.state") return h("span", {}, link, ` ${WORDS[name] ?? name}`);
  const chip = h("span.state");
  setState(chip, shade(job.state, job));
  const why = lastError(job) ?? format.outcome(job);
  return h("span", {}, link, " ", chip, why ? h("span.muted", {}, ` ${why}`) : null);
}
