// Shortcuts: single keys, and "g" with a second one. They can be switched off (WCAG 2.1.4).

import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { stored, store } from "./stored.js";

const STORED = "keys";
const SECOND_MS = 1500;

const HELP = [
  [
    "Go to",
    [
      ["g o", "Overview"],
      ["g a", "Agents"],
      ["g j", "Jobs"],
      ["g p", "Pools"],
    ],
  ],
  [
    "Lists",
    [
      ["/", "Filter, or search in a log"],
      ["j  ↓", "Next row"],
      ["k  ↑", "Previous row"],
      ["Enter", "Open the row"],
      ["Home  End", "First, last row"],
    ],
  ],
  [
    "A job",
    [
      ["1 … 5", "Its tabs"],
      ["f", "Follow the log"],
      ["n  N", "Next, previous match in the log"],
      ["w", "Wrap long lines"],
      ["u", "Back to the jobs"],
    ],
  ],
  [
    "Everywhere",
    [
      ["t", "Theme"],
      ["?", "This list"],
      ["Esc", "Close, or clear the filter"],
    ],
  ],
];

function areOn() {
  return stored(STORED) !== "off";
}

export function openKeys() {
  if (document.querySelector("dialog[open]")) return;
  openDialog("Keyboard shortcuts", () => {
    const toggle = h("input", {
      type: "checkbox",
      checked: areOn(),
      onchange: (event) => store(STORED, event.target.checked ? "on" : "off"),
    });
    const groups = HELP.map(([name, keys]) =>
      h(
        "section",
        {},
        h("h3", {}, name),
        h("dl.keys", {}, ...keys.flatMap(([key, what]) => [h("dt", {}, ...caps(key)), h("dd", {}, what)])),
      ),
    );
    return [
      h("div.dialog-body.key-list", {}, ...groups),
      h("div.dialog-foot", {}, h("label.check", {}, toggle, h("span", {}, "Shortcuts of single keys"))),
    ];
  });
}

function caps(keys) {
  return keys
    .split(" ")
    .filter(Boolean)
    .flatMap((key) => (key === "…" ? [key] : [h("kbd", {}, key)]));
}

const PLACES = { o: "", a: "agents", j: "jobs", p: "pools" };

// Keys of a view: document listens, and sends "pagent-key" (detail: the key) to <main>; a view that uses it prevents
// the default.
export function bindKeys(app) {
  let prefixUntil = 0;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || isTyping(event.target)) return;
    if (event.key.length === 1 && !areOn() && event.key !== "?") return;
    const isSecond = performance.now() < prefixUntil;
    prefixUntil = 0;
    if (isSecond && event.key in PLACES) app.goTo(PLACES[event.key]);
    else if (event.key === "g") prefixUntil = performance.now() + SECOND_MS;
    else if (event.key === "?") openKeys();
    else if (event.key === "t") window.pagentTheme.next();
    else if (!taken(event)) return;
    event.preventDefault();
  });
}

function taken(event) {
  const passed = new CustomEvent("pagent-key", { detail: { key: event.key, target: event.target }, cancelable: true });
  return !document.getElementById("main").dispatchEvent(passed);
}

// A terminal and fields take all keys themselves.
function isTyping(target) {
  return (
    target instanceof Element &&
    target.closest("input, textarea, select, [contenteditable], .xterm, [data-keys=own]") !== null
  );
}
