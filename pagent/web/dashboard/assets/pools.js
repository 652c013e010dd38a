// The view Pools.

import { h } from "./dom.js";

export function mountPools(element) {
  element.append(h("h1", {}, "Pools"));
  return { end() {} };
}
