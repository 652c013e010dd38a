// What stands in the place of a list without entries: why it has none, and the command that makes the first one.

import { command, empty } from "./chips.js";
import { h } from "./dom.js";

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

// ``kind``: why there are no rows; ``clear``: clears the filter.
export function emptyJobs(kind, clear) {
  if (kind === "loading") return empty("Listing the jobs…");
  if (kind === "ended")
    return empty("No job has ended yet", h("p", {}, "Agents remember the jobs that end, the last 1,000 for 24 hours."));
  if (kind === "none") {
    return empty("No job fits the filter", h("button", { type: "button", onclick: clear }, "Clear the filter"));
  }
  if (kind === "agents") {
    return empty(
      "No jobs, because no agent is connected",
      h("p", {}, h("a", { href: "#/agents" }, "Agents"), " has the command to start one."),
    );
  }
  return noJobs();
}

export function noJobs() {
  return empty(
    "No jobs yet",
    h("p", {}, "Start one from a terminal:"),
    command(
      `pagent start --agent ${location.hostname}:PORT --token-file token --name site -- python3 -m http.server {port}`,
    ),
    h(
      "p.hint",
      {},
      "PORT is the port of the agent's server or of the router's control listener. This page shows the job as soon as it is created.",
    ),
  );
}
