// The view Agents.

import { h } from "./dom.js";

export function mountAgents(element) {
  element.append(h("h1", {}, "Agents"));
  return { end() {} };
}
