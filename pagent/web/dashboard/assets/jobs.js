// The view Jobs.

import { h } from "./dom.js";

export function mountJobs(element) {
  element.append(h("h1", {}, "Jobs"));
  return { end() {} };
}
