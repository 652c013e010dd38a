// What agents say of their hosts: state, load, memory and disk, as texts and meters.

import { meter } from "./chips.js";
import { h } from "./dom.js";
import * as format from "./format.js";

const REFRESH_MS = 5000;

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

export const usedMemory = (agent) => (agent.memory_total ? agent.memory_total - agent.memory_available : null);
export const usedDisk = (agent) => (agent.disk_total ? agent.disk_total - agent.disk_free : null);
export const loadText = (agent) =>
  typeof agent.load === "number" ? `${agent.load.toFixed(2)} / ${agent.cpus ?? "?"}` : format.NONE;
export const jobsText = (agent) =>
  agent.jobs_max ? `${format.count(agent.jobs)} / ${format.count(agent.jobs_max)}` : format.count(agent.jobs);
export const memoryText = (agent) =>
  usedMemory(agent) === null ? format.NONE : `${format.bytes(usedMemory(agent))} / ${format.bytes(agent.memory_total)}`;
export const diskText = (agent) =>
  usedDisk(agent) === null ? format.NONE : `${format.bytes(usedDisk(agent))} / ${format.bytes(agent.disk_total)}`;
export const partOf = (a, b) => (typeof a === "number" && b > 0 ? a / b : null);

// Return the tag of an agent and its word.
export function stateOf(agent) {
  if (agent.awaySince !== undefined) return ["away", "Not connected"];
  return agent.cordoned ? ["cordoned", "Cordoned"] : ["ready", "Ready"];
}

export function upTime(agent, store) {
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
