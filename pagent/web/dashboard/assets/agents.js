// The view of the agents, and of one of them.

import { allow, command, copyButton, empty, setMeter, meter, whenAllowed } from "./chips.js";
import { confirmAction, failure, message } from "./dialog.js";
import { framed, h, keepFocus, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { Table, textCell } from "./table.js";

const REFRESH_MS = 5000;

export function mountAgents(element, app, [uid]) {
  return uid ? mountAgent(element, app, uid) : mountList(element, app);
}

export function noAgents() {
  return empty(
    "No agent is connected",
    h("p", {}, "Start one on the host that is to run jobs:"),
    command(
      `pagent serve --set client.enabled=True --set "client.address='${location.hostname}:PORT'" --set "client.token_file='token'"`,
    ),
    h(
      "p.hint",
      {},
      "PORT is the port of the router's server listener, and token a file with one of its server.accept_tokens.",
    ),
  );
}

// The figures of all hosts come with the answer of the API, not with events.
async function refresh(app) {
  try {
    const agents = await app.api.all("agents", "agents");
    app.store.agentsListed(agents);
  } catch {
    // The banner says that the connection is lost.
  }
}

export function refreshing(app) {
  const timer = setInterval(() => {
    if (!document.hidden && app.live.state === "live") refresh(app);
  }, REFRESH_MS);
  return () => clearInterval(timer);
}

// --- the list ---------------------------------------------------------------------------------------

let sort = { key: "name", descending: false };

function mountList(element, app) {
  const { store } = app;
  const number = h("p.count", { id: "agent-count" });
  const place = h("div.table-place");
  const table = new Table({
    name: "agents",
    label: "Agents",
    columns: columns(app),
    sort,
    keyOf: (agent) => agent.uid,
    onOpen: (agent) => app.goTo(`agents/${encodeURIComponent(agent.uid)}`),
    onSort: (given) => {
      sort = given;
    },
  });
  place.append(table.element);
  element.append(h("div.view-head", {}, h("h1", {}, "Agents"), number), place);
  const fill = framed(() => {
    const agents = [...store.agents.values()];
    table.rows = agents;
    setText(number, format.count(agents.length));
    place.querySelector(".empty")?.remove();
    place.dataset.empty = agents.length ? "" : "agents";
    if (!agents.length) place.append(store.isListed ? noAgents() : empty("Listing the agents…"));
  });
  const key = (event) => {
    if (table.handleKey(event.detail.key)) event.preventDefault();
  };
  element.addEventListener("pagent-key", key);
  const ends = [store.on("agents", fill), refreshing(app), () => element.removeEventListener("pagent-key", key)];
  fill();
  return {
    title: "Agents",
    end() {
      ends.forEach((end) => end());
      fill.cancel();
      table.end();
    },
  };
}

function bar(part, whole, text) {
  return (cell, agent) => {
    if (!cell.firstChild) cell.append(meter(null, null, format.NONE));
    const [a, b] = [part(agent), whole(agent)];
    setMeter(cell.firstChild, typeof a === "number" && b > 0 ? a / b : null, text(agent));
  };
}

const usedMemory = (agent) => (agent.memory_total ? agent.memory_total - agent.memory_available : null);
const usedDisk = (agent) => (agent.disk_total ? agent.disk_total - agent.disk_free : null);
const loadText = (agent) =>
  typeof agent.load === "number" ? `${agent.load.toFixed(2)} / ${agent.cpus ?? "?"}` : format.NONE;
const jobsText = (agent) =>
  agent.jobs_max ? `${format.count(agent.jobs)} / ${format.count(agent.jobs_max)}` : format.count(agent.jobs);
const memoryText = (agent) =>
  usedMemory(agent) === null ? format.NONE : `${format.bytes(usedMemory(agent))} / ${format.bytes(agent.memory_total)}`;
const diskText = (agent) =>
  usedDisk(agent) === null ? format.NONE : `${format.bytes(usedDisk(agent))} / ${format.bytes(agent.disk_total)}`;
const partOf = (a, b) => (typeof a === "number" && b > 0 ? a / b : null);

function stateOf(agent) {
  if (agent.awaySince !== undefined) return ["away", "Not connected"];
  return agent.cordoned ? ["cordoned", "Cordoned"] : ["ready", "Ready"];
}

function columns(app) {
  const { store } = app;
  return [
    {
      key: "status",
      label: "Status",
      width: "8.5rem",
      sort: (agent) => stateOf(agent)[1],
      update: (cell, agent) => {
        if (!cell.firstChild) cell.append(h("span.tag"));
        const [tag, word] = stateOf(agent);
        setAttribute(cell.firstChild, "data-tag", tag);
        setText(cell.firstChild, word);
      },
    },
    {
      key: "name",
      label: "Name",
      width: "minmax(10rem, 2fr)",
      sort: (agent) => agent.name || agent.uid,
      update: (cell, agent) => {
        if (!cell.firstChild) cell.append(h("a.job-name"), h("span.uid"));
        const [link, uid] = cell.children;
        setText(link, format.shortened(agent.name || agent.uid, 120));
        setAttribute(link, "href", `#/agents/${encodeURIComponent(agent.uid)}`);
        setText(uid, format.shortened(agent.uid, 40));
        setAttribute(uid, "title", format.harmless(agent.uid));
      },
    },
    {
      key: "jobs",
      label: "Jobs",
      width: "5rem",
      numeric: true,
      descending: true,
      sort: (agent) => agent.jobs,
      update: textCell(jobsText),
    },
    {
      key: "load",
      label: "Load / CPUs",
      width: "minmax(8rem, 1fr)",
      descending: true,
      sort: (agent) => partOf(agent.load, agent.cpus),
      update: bar(
        (a) => a.load,
        (a) => a.cpus,
        loadText,
      ),
    },
    {
      key: "memory",
      label: "Memory",
      width: "minmax(10rem, 1.2fr)",
      descending: true,
      sort: (agent) => partOf(usedMemory(agent), agent.memory_total),
      update: bar(usedMemory, (a) => a.memory_total, memoryText),
    },
    {
      key: "disk",
      label: "Disk",
      width: "minmax(10rem, 1.2fr)",
      descending: true,
      sort: (agent) => partOf(usedDisk(agent), agent.disk_total),
      update: bar(usedDisk, (a) => a.disk_total, diskText),
    },
    {
      key: "links",
      label: "Links",
      width: "4.5rem",
      numeric: true,
      descending: true,
      sort: (agent) => agent.links?.length ?? 0,
      update: textCell((agent) => format.count(agent.links?.length ?? 0)),
    },
    {
      key: "version",
      label: "Version",
      width: "6rem",
      sort: (agent) => agent.version,
      update: textCell((agent) => format.shortened(agent.version ?? "–", 20)),
    },
    {
      key: "up",
      label: "Up",
      width: "5.5rem",
      numeric: true,
      descending: true,
      sort: (agent) => upTime(agent, store),
      update: textCell((agent) => format.duration(upTime(agent, store))),
    },
  ];
}

function upTime(agent, store) {
  const begun = format.epoch(agent.started_at);
  return begun === null ? null : store.now() - begun;
}

// The three meters of a host, for places without a table.
export function hostMeters(agent) {
  const one = (name, part, whole, text) => h("div.host-meter", {}, h("span.muted", {}, name), meter(part, whole, text));
  return h(
    "div.host-meters",
    {},
    one("Load", agent.load, agent.cpus, loadText(agent)),
    one("Memory", usedMemory(agent), agent.memory_total, memoryText(agent)),
    one("Disk", usedDisk(agent), agent.disk_total, diskText(agent)),
  );
}

// --- one agent --------------------------------------------------------------------------------------

function mountAgent(element, app, uid) {
  const { api, store } = app;
  const title = h("h1");
  const tag = h("span.tag");
  const cordon = h("button", {
    type: "button",
    "data-action": "cordon",
    onclick: whenAllowed(() => changeCordon(app, store.agents.get(uid))),
  });
  const jobs = h("a.button", { href: `#/jobs?q=${encodeURIComponent(`agent:${uid}`)}` }, "Its jobs");
  const body = h("div.agent-body");
  element.append(
    h("nav.crumbs", { "aria-label": "Where this is" }, h("a", { href: "#/agents" }, "Agents")),
    h("div.view-head", {}, title, tag, h("div.actions", {}, jobs, cordon)),
    body,
  );
  const fill = framed(() => {
    const agent = store.agents.get(uid);
    cordon.hidden = jobs.hidden = !agent;
    setText(title, agent ? format.shortened(agent.name || agent.uid) : format.shortened(uid));
    if (!agent) {
      tag.hidden = true;
      body.replaceChildren(empty(store.isListed ? "No agent with this uid is connected" : "Asking for the agent…"));
      return;
    }
    const [key, word] = stateOf(agent);
    tag.hidden = false;
    setAttribute(tag, "data-tag", key);
    setText(tag, word);
    setText(cordon, agent.cordoned ? "Take jobs again" : "Cordon");
    allow(cordon, agent.awaySince === undefined ? api.refusal("admin", { agent }) : "The agent is not connected.");
    keepFocus(body, () => fillAgent(body, agent, app));
  });
  const ends = [store.on("agents", fill), refreshing(app)];
  const token = () => fill();
  api.addEventListener("token", token);
  fill();
  return {
    title: format.shortened(store.agents.get(uid)?.name ?? uid, 60),
    end() {
      api.removeEventListener("token", token);
      ends.forEach((end) => end());
      fill.cancel();
    },
  };
}

function fillAgent(body, agent, { store }) {
  const drawn = JSON.stringify(agent);
  if (body.dataset.drawn === drawn) return;
  body.dataset.drawn = drawn;
  const row = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  const time = (text) => (text ? `${format.localTime(text)} (${text})` : format.NONE);
  body.replaceChildren(
    h("section.card", { "aria-label": "Load" }, h("h2", {}, "Host"), hostMeters(agent)),
    h(
      "section.card",
      { "aria-label": "Facts" },
      h("h2", {}, "Facts"),
      h(
        "dl.facts",
        {},
        ...row("Uid", h("code", {}, format.shortened(agent.uid)), copyButton(agent.uid, "The uid")),
        ...row("Jobs", jobsText(agent)),
        ...row("Version", format.shortened(agent.version ?? "–")),
        ...row(
          "Started",
          time(agent.started_at),
          agent.started_at ? `, up ${format.duration(upTime(agent, store))}` : "",
        ),
        ...(agent.deadline ? row("Ends", time(agent.deadline)) : []),
        ...row(
          "Links",
          ...(agent.links ?? []).map((link) =>
            h(
              "div",
              {},
              h("code", {}, format.shortened(link.connection, 60)),
              ` ${link.mode === "SERVER" ? "the agent dialled" : "the router dialled"}`,
            ),
          ),
        ),
      ),
    ),
    named("Platform", agent.platform),
    named("Properties", agent.properties),
  );
}

function named(title, values) {
  const rows = Object.entries(values ?? {}).flatMap(([name, value]) => [
    h("dt", {}, format.shortened(name, 120)),
    h("dd", {}, format.shortened(typeof value === "string" ? value : JSON.stringify(value), 1000)),
  ]);
  return h(
    "section.card",
    { "aria-label": title },
    h("h2", {}, title),
    rows.length ? h("dl.facts", {}, ...rows) : h("p.muted", {}, "None"),
  );
}

async function changeCordon(app, agent) {
  const name = format.shortened(agent.name || agent.uid);
  const cordoned = !agent.cordoned;
  const sure = await confirmAction({
    title: cordoned ? "Cordon the agent?" : "Let the agent take jobs again?",
    subject: name,
    text: cordoned ? "It takes no new jobs from now on. Its jobs go on." : "It takes new jobs from now on.",
    action: cordoned ? "Cordon" : "Take jobs again",
    danger: false,
  });
  if (!sure) return;
  try {
    const answer = await app.api.send("PATCH", `agents/${encodeURIComponent(agent.uid)}`, { cordoned });
    app.store.agentsListed([answer], false);
    const where = answer.shared ? "" : " Only this router knows: it is an agent that cannot be asked.";
    message(`${name} ${cordoned ? "is cordoned" : "takes jobs again"}.${where}`);
  } catch (error) {
    failure(`${name} could not be changed.`, error);
  }
}
