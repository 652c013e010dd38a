// The view of the pools: agents that are started on demand, and the requests for them.

import { empty, plainTable } from "./chips.js";
import { framed, h, keepFocus, setText } from "./dom.js";
import * as format from "./format.js";

const REFRESH_MS = 5000;

export function mountPools(element, app) {
  const { api, store, live } = app;
  const number = h("p.count");
  const list = h("div.pool-list");
  element.append(h("div.view-head", {}, h("h1", {}, "Pools"), number), list);
  const fill = framed(() => {
    setText(number, format.count(store.pools.length));
    const drawn = JSON.stringify(store.pools);
    if (list.dataset.drawn === drawn) return;
    list.dataset.drawn = drawn;
    keepFocus(list, () =>
      list.replaceChildren(...(store.pools.length ? store.pools.map((pool) => card(pool, store)) : [noPools()])),
    );
  });
  const refresh = async () => {
    if (document.hidden || live.state !== "live") return;
    try {
      store.poolsListed((await api.get("pools")).pools);
    } catch {
      // The banner says that the connection is lost.
    }
  };
  const timer = setInterval(refresh, REFRESH_MS);
  const end = store.on("pools agents", fill);
  fill();
  return {
    title: "Pools",
    end() {
      clearInterval(timer);
      end();
      fill.cancel();
    },
  };
}

function noPools() {
  return empty(
    "No pools",
    h(
      "p",
      {},
      "A pool starts agents through Slurm, Kubernetes or ssh when a job needs one. The section ",
      h("code", {}, "pools"),
      " of the router's configuration defines them.",
    ),
  );
}

function card(pool, store) {
  const requests = pool.requests.filter((request) => request.state !== "ended");
  const parameters = pool.parameters.length
    ? h(
        "p.muted",
        {},
        "A request gives ",
        ...pool.parameters.flatMap((name, index) => [index ? ", " : "", h("code", {}, format.shortened(name, 60))]),
      )
    : null;
  return h(
    "section.card.pool",
    { "aria-label": `Pool ${format.shortened(pool.name, 60)}` },
    h(
      "h2",
      {},
      format.shortened(pool.name, 60),
      h("span.muted", {}, ` ${requests.length} of ${format.plural(pool.max, "agent")}`),
    ),
    parameters,
    pool.requests.length ? requestTable(pool, store) : h("p.muted", {}, "No requests."),
  );
}

function requestTable(pool, store) {
  const rows = pool.requests.map((request) => {
    const job = store.job(request.job);
    const agent = store.agents.get(request.agent);
    const cells = [
      h("span.tag", { "data-tag": request.state }, format.shortened(request.state, 40)),
      h(
        "a",
        { href: `#/jobs/${encodeURIComponent(request.job)}` },
        job?.name ? format.jobName(job) : format.shortUid(request.job),
      ),
      agent
        ? h("a", { href: `#/agents/${encodeURIComponent(agent.uid)}` }, format.shortened(agent.name || agent.uid, 60))
        : format.NONE,
      request.created_at ? format.duration(store.now() - format.epoch(request.created_at)) : format.NONE,
      h(
        "span",
        { title: (request.command_output ?? []).join("\n") },
        format.shortened(request.message || format.NONE, 400),
      ),
    ];
    return { key: request.id, cells };
  });
  return plainTable(
    `Requests of ${format.shortened(pool.name, 60)}`,
    ["State", "Job", "Agent", "Age", "Message"],
    rows,
  );
}
