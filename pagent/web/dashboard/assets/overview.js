// The view Overview.

import { h } from "./dom.js";

export function mountOverview(element) {
  element.append(h("h1", {}, "Overview"));
  return { end() {} };
}
