// The page of one job: its facts, its log, its files, a terminal, its tickets.

import { h, setAttribute } from "./dom.js";
import { mountFiles } from "./files.js";
import { jobName } from "./format.js";
import { mountTerminal } from "./terminal.js";

// Each takes (element, job, api), and returns the function that ends it.
const TABS = { files: ["Files", mountFiles], terminal: ["Terminal", mountTerminal] };

export function mountJob(element, app, [uid, tab]) {
  const { api, store } = app;
  const panel = h("section.panel", { role: "tabpanel", id: "panel", tabindex: "0" });
  const name = h("h1");
  const tabs = h("div.tabs", { role: "tablist" });
  let end = null;
  for (const [key, [label]] of Object.entries(TABS)) {
    tabs.append(h("a", { role: "tab", href: `#/jobs/${uid}/${key}`, id: `tab-${key}`, "data-tab": key }, label));
  }
  element.append(name, tabs, panel);
  const open = (job) => {
    name.textContent = jobName(job);
    const key = tab in TABS ? tab : "files";
    for (const each of tabs.children) setAttribute(each, "aria-selected", String(each.dataset.tab === key));
    end = TABS[key][1](panel, job, api);
  };
  const known = store.job(uid);
  if (known) open(known);
  else api.get(`jobs/${encodeURIComponent(uid)}`).then(open);
  return {
    end() {
      end?.();
    },
  };
}
