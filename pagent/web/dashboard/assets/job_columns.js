// The columns of the tables of jobs.

import { setState, shade, stateWord } from "./chips.js";
import { h, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { CPU, MEMORY, RECEIVED, SENT, STREAMS } from "./state.js";
import { textCell } from "./table.js";

function stateColumn(store) {
  const shadeOf = (job) => shade(store.stateOf(job), job);
  return {
    key: "state",
    label: "State",
    width: "8rem",
    sort: (job) => stateWord(shadeOf(job)),
    update: (cell, job) => {
      if (!cell.firstChild) cell.append(h("span.state"));
      setState(cell.firstChild, shadeOf(job));
      const end = format.outcome(job);
      setAttribute(cell, "title", end);
    },
  };
}

function nameColumn() {
  return {
    key: "name",
    label: "Name",
    width: "minmax(11rem, 3fr)",
    sort: (job) => job.name || job.uid,
    update: (cell, job) => {
      if (!cell.firstChild) cell.append(h("a.job-name"), h("span.uid"));
      const [link, uid] = cell.children;
      const name = format.jobName(job);
      setText(link, name);
      setAttribute(link, "href", `#/jobs/${encodeURIComponent(job.uid)}`);
      setAttribute(link, "title", name);
      setText(uid, job.name ? format.shortUid(job.uid) : "");
    },
  };
}

function agentColumn(store) {
  const name = (job) => {
    if (job.state === "QUEUED") return `pool ${format.shortened(job.pool ?? "", 60)}`;
    const agent = store.agents.get(job.agent);
    return agent?.name ? format.shortened(agent.name, 60) : format.shortUid(job.agent ?? "–");
  };
  return {
    key: "agent",
    label: "Agent",
    width: "minmax(7rem, 1.5fr)",
    sort: name,
    update: textCell(name, (job) => format.harmless(job.agent ?? "")),
  };
}

function figure(key, label, width, valueOf, textOf, title) {
  return {
    key,
    label,
    width,
    numeric: true,
    descending: true,
    title,
    sort: valueOf,
    update: textCell((job) => textOf(valueOf(job))),
  };
}

export function currentColumns(store) {
  const live = (which) => (job) => store.figure(job, which);
  return [
    stateColumn(store),
    nameColumn(),
    { ...agentColumn(store), update: agentOrMessage(store) },
    { ...figure("age", "Age", "5.5rem", (job) => store.age(job), format.duration), descending: false },
    figure("cpu", "CPU", "4.5rem", live(CPU), format.cores, "Share of one core"),
    figure("memory", "Memory", "5.5rem", live(MEMORY), format.bytes, "Resident memory of all processes"),
    figure("streams", "Streams", "5rem", live(STREAMS), format.count, "Open streams"),
    figure("in", "In", "5.5rem", live(RECEIVED), format.bytes, "Bytes that the job has received"),
    figure("out", "Out", "5.5rem", live(SENT), format.bytes, "Bytes that the job has sent"),
    figure("idle", "Idle", "5.5rem", (job) => store.idle(job), format.duration, "Time without requests and input"),
  ];
}

// A job that waits has the last line of its engine in the place of its agent.
function agentOrMessage(store) {
  const { sort: name } = agentColumn(store);
  return (cell, job) => {
    const text = job.state === "QUEUED" && job.message ? `${name(job)}: ${format.shortened(job.message)}` : name(job);
    setText(cell, text);
    setAttribute(cell, "title", job.state === "QUEUED" ? text : format.harmless(job.agent ?? ""));
  };
}

export function endedColumns(store) {
  const end = (job) => format.epoch(job.finished_at ?? job.removed_at);
  return [
    stateColumn(store),
    nameColumn(),
    agentColumn(store),
    {
      key: "end",
      label: "Ended",
      width: "8rem",
      numeric: true,
      descending: true,
      sort: end,
      update: textCell(
        (job) => (end(job) === null ? format.NONE : `${format.duration(store.now() - end(job))} ago`),
        (job) => format.localTime(job.finished_at ?? job.removed_at),
      ),
    },
    { ...figure("age", "Ran for", "6rem", (job) => (job.started_at ? store.age(job) : null), format.spent) },
    {
      key: "outcome",
      label: "Outcome",
      width: "7rem",
      sort: (job) => format.outcome(job),
      update: textCell((job) => format.outcome(job) ?? format.NONE),
    },
    {
      key: "error",
      label: "Last error",
      width: "minmax(8rem, 3fr)",
      sort: (job) => lastError(job),
      update: textCell(
        (job) => lastError(job) ?? "",
        (job) => lastError(job),
      ),
    },
  ];
}

// The error of the agent, otherwise the last line of the standard error.
export function lastError(job) {
  if (job.error) return format.shortened(job.error);
  if (!format.hasFailed(job) || !job.stderr) return null;
  return format.shortened(job.stderr.trimEnd().split("\n").at(-1));
}
