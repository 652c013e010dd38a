// Small parts that several views have: the chip of a state, meters, facts, and commands to copy.

import { message } from "./dialog.js";
import { h, icon, setAttribute, setText } from "./dom.js";
import { hasFailed } from "./format.js";

const WORDS = {
  NEW: "New",
  PENDING: "Starting",
  RUNNING: "Running",
  FINISHED: "Finished",
  CLOSED: "Closed",
  UNREACHABLE: "Unreachable",
  QUEUED: "Queued",
  FAILED: "Failed",
  unknown: "Unknown",
};

export function stateWord(state) {
  return Object.hasOwn(WORDS, state) ? WORDS[state] : String(state);
}

// The state to display of a job: one that has ended without success has failed.
export function shade(state, job) {
  return (state === "FINISHED" || state === "CLOSED") && hasFailed(job) ? "FAILED" : state;
}

// Make the content of an element the chip of a state, and touch it only if that is another one.
export function setState(element, state) {
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.replaceChildren(h("span.dot", { "aria-hidden": "true" }), h("span", {}, stateWord(state)));
}

// A bar for a part of a whole. The text beside it says the same.
export function meter(part, whole, text) {
  const known = typeof part === "number" && typeof whole === "number" && whole > 0;
  const share = known ? Math.min(1, Math.max(0, part / whole)) : 0;
  const bar = h("span.meter-bar", { "aria-hidden": "true" }, h("span.meter-fill"));
  const element = h("span.meter", {}, bar, h("span.meter-text", {}, text));
  setMeter(element, known ? share : null, text);
  return element;
}

export function setMeter(element, share, text) {
  const fill = element.querySelector(".meter-fill");
  const width = `${Math.round(100 * (share ?? 0))}%`;
  if (fill.style.width !== width) fill.style.width = width;
  setAttribute(
    element,
    "data-level",
    share === null ? "none" : share >= 0.9 ? "high" : share >= 0.75 ? "raised" : "normal",
  );
  setText(element.querySelector(".meter-text"), text);
}

// Put a text on the clipboard.
export async function copy(text, what) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else if (!copySelected(text)) throw new Error("the browser refuses");
    message(`${what} is on the clipboard.`);
  } catch {
    message(`The browser does not let this page use the clipboard. ${what}: ${text}`, { kind: "error" });
  }
}

// Pages of http have no other way, unless they are of the loopback.
function copySelected(text) {
  const before = document.activeElement;
  const field = h("textarea.unseen", { readonly: true, "aria-hidden": "true" });
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  before?.focus({ preventScroll: true });
  return isDone;
}

export function copyButton(text, what) {
  return h(
    "button.icon-button",
    { type: "button", "aria-label": `Copy: ${what}`, title: "Copy", onclick: () => copy(text, what) },
    icon("copy"),
  );
}

// A way out of a refusal.
export function tokenButton(api) {
  return h("button", { type: "button", "data-action": "token", onclick: () => api.askForToken() }, "Give a token");
}

// A command line for a newcomer.
export function command(text) {
  return h("div.command", {}, h("code", {}, text), copyButton(text, "The command"));
}

export function empty(title, ...content) {
  return h("div.empty", {}, h("h2", {}, title), ...content);
}

// A short table. On a phone each row is a list of names and values; the roles keep it a table.
// ``rows``: [{key, cells: [element or text]}]; the last column has no name if it has buttons.
export function plainTable(label, names, rows) {
  const cell = (content, index) => h("td", { role: "cell", "data-label": names[index] }, h("div", {}, content));
  return h(
    "table.plain",
    { role: "table", "aria-label": label },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        ...names.map((name) =>
          h("th", { role: "columnheader", scope: "col" }, name || h("span.unseen", {}, "Actions")),
        ),
      ),
    ),
    h(
      "tbody",
      { role: "rowgroup" },
      ...rows.map(({ key, cells }) => h("tr", { role: "row", "data-key": key }, ...cells.map(cell))),
    ),
  );
}

// Disable a button that the caller may not use. The reason is its title, and is read by a screen reader.
export function allow(button, reason) {
  setAttribute(button, "aria-disabled", reason ? "true" : null);
  setAttribute(button, "title", reason || button.dataset.hint || null);
  setAttribute(button, "aria-description", reason || null);
}

// A listener that does nothing while its button is disabled, but say why.
export function whenAllowed(action) {
  return (event) => {
    const button = event.currentTarget;
    if (button.getAttribute("aria-disabled") === "true") message(button.title);
    else action(event);
  };
}
