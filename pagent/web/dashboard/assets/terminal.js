// The tab Terminal of a job.

import { h } from "./dom.js";

// Mount the tab into an element; return the function that ends it.
// ``job``: as GET /v1/jobs/<uid> answers; ``api``: the client of /v1 (api.js).
export function mountTerminal(element, job, api) {
  const reason = api.refusal("exec", { job });
  element.append(h("p.empty", {}, reason ?? "Terminal"));
  return () => element.replaceChildren();
}
