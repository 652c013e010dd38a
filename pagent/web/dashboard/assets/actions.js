// What can be done with a job: open it in a browser, signal it, remove it.

import { copy } from "./chips.js";
import { confirmAction, failure, message, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { ENDED } from "./state.js";

// Uids of jobs whose ticket is under way.
const opening = new Set();
const SIGNALS = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"];

const NOT_YET = new Map([
  ["NEW", "The job is not started."],
  ["QUEUED", "The job waits for an agent."],
]);

// Return why an action cannot be done with a job; null if it can.
export function refusals(job, api) {
  const isGone = job.removed_at ? "The job is removed." : null;
  const notRunning = isGone ?? (ENDED.has(job.state) ? "The job has ended." : (NOT_YET.get(job.state) ?? null));
  const ticket = notRunning ?? api.refusal("proxy", { job });
  return {
    open:
      ticket ?? (job.ports?.length ? null : "No port of the job is known. A ticket for a port that you name opens it."),
    ticket,
    kill: notRunning ?? api.refusal("jobs", { job }),
    remove: isGone ?? api.refusal("jobs", { job }),
  };
}

function path(job, rest = "") {
  return `jobs/${encodeURIComponent(job.uid)}${rest}`;
}

// Make a ticket, and open its address in a new tab. The tab is opened at once: a browser lets a page open one only while
// the user acts.
export async function openJob(api, job, port = null) {
  if (opening.has(job.uid)) return; // a double click
  opening.add(job.uid);
  const name = format.jobName(job);
  const tab = window.open("", "_blank");
  if (tab) tab.opener = null;
  try {
    const ticket = await api.send("POST", path(job, "/tickets"), port === null ? {} : { ports: [port] });
    const [address] = Object.values(ticket.urls);
    if (tab) tab.location.replace(safeAddress(address));
    else blocked(name, safeAddress(address));
  } catch (error) {
    tab?.close();
    failure(`${name} could not be opened.`, error);
  } finally {
    opening.delete(job.uid);
  }
}

function safeAddress(text) {
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new Error("the router's address is not one of the web");
  return url.href;
}

function blocked(name, address) {
  openDialog("The browser has blocked the tab", () => [
    h(
      "div.dialog-body",
      {},
      h("p.dialog-subject", {}, name),
      h("p", {}, "This address opens the job once, within a minute:"),
      h("p", {}, h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, "Open the job")),
      h(
        "div.dialog-actions",
        {},
        h("button", { type: "button", onclick: () => copy(address, "The address") }, "Copy the address"),
      ),
    ),
  ]);
}

export async function killJob(api, job) {
  const name = format.jobName(job);
  const signal = h(
    "select",
    { name: "signal", id: "signal" },
    ...SIGNALS.map((each) => h("option", { value: each }, `SIG${each}`)),
  );
  const grace = h("input", {
    name: "grace",
    id: "grace",
    type: "number",
    min: "0",
    max: "3600",
    step: "any",
    value: "5",
    required: true,
  });
  const answer = await confirmAction({
    title: "Signal the job?",
    subject: `${name} (${format.shortUid(job.uid)})`,
    text: "All its processes get the signal. Those that still run after the grace period are killed.",
    fields: [
      h(
        "div.field-row",
        {},
        h("label.field", { for: "signal" }, h("span", {}, "Signal"), signal),
        h("label.field", { for: "grace" }, h("span", {}, "Grace period in seconds"), grace),
      ),
    ],
    action: "Send the signal",
  });
  if (!answer) return;
  try {
    await api.send("POST", path(job, "/kill"), { signal: answer.signal, grace: Number(answer.grace) });
    message(`${name} has got SIG${answer.signal}.`);
  } catch (error) {
    failure(`${name} could not be signalled.`, error);
  }
}

// Return whether it was removed.
export async function removeJob(api, job) {
  const name = format.jobName(job);
  const waits = job.state === "QUEUED";
  const sure = await confirmAction({
    title: waits ? "Cancel the job?" : "Remove the job?",
    subject: `${name} (${format.shortUid(job.uid)})`,
    text: waits
      ? "Its request for an agent is cancelled."
      : "Its processes are ended, and its files and its output are deleted. This cannot be undone.",
    action: waits ? "Cancel the job" : "Remove",
  });
  if (!sure) return false;
  try {
    await api.send("DELETE", path(job));
    message(`${name} is ${waits ? "cancelled" : "removed"}.`);
    return true;
  } catch (error) {
    failure(`${name} could not be ${waits ? "cancelled" : "removed"}.`, error);
    return false;
  }
}
