// The page: its frame, its views by the fragment of the address, and its keys.

import { Api, isToken } from "./api.js";
import { mountAgent } from "./agent.js";
import { mountAgents } from "./agents.js";
import { announce, message } from "./dialog.js";
import { h, icon, setAttribute } from "./dom.js";
import { mountFrame } from "./frame.js";
import { mountJob } from "./job.js";
import { mountJobs } from "./jobs.js";
import { bindKeys } from "./keys.js";
import { Live } from "./live.js";
import { mountOverview } from "./overview.js";
import { mountPools } from "./pools.js";
import { Store } from "./state.js";

// The views by the first part of the fragment. A mount function takes (element, app, parts of the fragment after that),
// and returns the function that ends the view; a view that takes other parts without being ended is ``update``d.
const VIEWS = {
  "": { name: "Overview", mount: mountOverview },
  agents: { name: "Agents", mount: oneOrAll(mountAgent, mountAgents) },
  jobs: { name: "Jobs", mount: oneOrAll(mountJob, mountJobs) },
  pools: { name: "Pools", mount: mountPools },
};

function oneOrAll(mountOne, mountAll) {
  return (element, app, parts) => (parts[0] ? mountOne : mountAll)(element, app, parts);
}

const ICONS = { "": "overview", agents: "agents", jobs: "jobs", pools: "pools" };

const api = new Api(new URL(".", location.href.split("#")[0]));
const store = new Store();
const live = new Live(api, store);
const app = { api, store, live, goTo, useToken };
const main = document.getElementById("main");
let view = null;
let place = null;

// Take a token out of the fragment, so that it leaves the address and the history at once; null without one.
function tokenOfAddress() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (!match) return null;
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
  const token = decoded(match[1]).trim();
  if (isToken(token)) return token;
  message("The token in the address is not complete: it has characters that no token has.", { kind: "error" });
  return null;
}

// Use another token, or none. The page is loaded again, so that no data of the former token stays.
function useToken(token) {
  const former = api.token;
  if (former !== null && token === null) history.replaceState(null, "", "#/");
  api.token = token;
  if (former !== null && former !== token) location.reload();
  else live.start();
}

function goTo(path) {
  location.hash = `#/${path}`;
}

function partsOf(hash) {
  return hash.replace(/^#\/?/, "").split("?")[0].split("/").map(decoded);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route() {
  const [first, ...parts] = partsOf(location.hash);
  const known = Object.hasOwn(VIEWS, first) ? first : "";
  if (view && place?.first === known && view.update?.(parts)) {
    place.parts = parts;
    return;
  }
  const isFirst = view === null;
  view?.end();
  main.replaceChildren();
  main.dataset.view = known || "overview";
  place = { first: known, parts };
  view = VIEWS[known].mount(main, app, parts);
  for (const link of document.querySelectorAll("#nav a")) {
    setAttribute(link, "aria-current", link.dataset.view === known ? "page" : null);
  }
  poolsVisible();
  titled(view.title ?? VIEWS[known].name);
  if (!isFirst) {
    main.focus({ preventScroll: true });
    main.scrollTop = 0;
    announce(document.title);
  }
}

function titled(name) {
  document.title = `${name} · pAgent`;
}
app.titled = titled;

// Most routers, and all agents, have no pools.
function poolsVisible() {
  const link = document.querySelector('#nav [data-view="pools"]');
  link.hidden = store.pools.length === 0 && place?.first !== "pools";
}

function navigation() {
  const nav = document.getElementById("nav");
  for (const [key, { name }] of Object.entries(VIEWS)) {
    nav.append(h("a", { href: `#/${key}`, "data-view": key }, icon(ICONS[key]), h("span", {}, name)));
  }
}

api.token = tokenOfAddress() ?? api.token;
navigation();
mountFrame(app);
bindKeys(app);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => {
  const token = tokenOfAddress();
  if (token) useToken(token);
  route();
});
store.on("pools", poolsVisible);
api.addEventListener("date", (event) => store.setClock(event.detail));
route();
live.pauseWhileHidden();
live.start();
