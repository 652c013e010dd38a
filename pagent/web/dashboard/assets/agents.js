// The view of all agents.

import { empty, meter, setMeter } from "./chips.js";
import { framed, h, setAttribute, setText } from "./dom.js";
import { noAgents } from "./first_steps.js";
import * as format from "./format.js";
import {
  diskText,
  jobsText,
  loadText,
  memoryText,
  partOf,
  refreshing,
  stateOf,
  upTime,
  usedDisk,
  usedMemory,
} from "./hosts.js";
import { Table, textCell } from "./table.js";

let sort = { key: "name", descending: false };

export function mountAgents(element, app) {
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

// A column of meters.
function bar(part, whole, text) {
  return (cell, agent) => {
    if (!cell.firstChild) cell.append(meter(null, null, format.NONE));
    const [a, b] = [part(agent), whole(agent)];
    setMeter(cell.firstChild, partOf(a, b), text(agent));
  };
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
