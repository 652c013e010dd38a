// The tab Files of a job.

import { h } from "./dom.js";

// Mount the tab into an element; return the function that ends it.
// ``job``: as GET /v1/jobs/<uid> answers; ``api``: the client of /v1 (api.js).
export function mountFiles(element, job, api) {
  const reason = api.refusal("files", { job });
  element.append(h("p.empty", {}, reason ?? "Files"));
  return () => element.replaceChildren();
}
