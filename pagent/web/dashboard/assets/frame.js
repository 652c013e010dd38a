// The frame of the page: the state of the connection, the token, the theme.

import { openDialog } from "./dialog.js";
import { h, icon, setText } from "./dom.js";
import { duration, harmless, localTime } from "./format.js";
import { openKeys } from "./keys.js";

export function mountFrame(app) {
  const { api, live } = app;
  const status = h("span.link-state", { id: "link-state", "data-state": "connecting" }, "Connecting");
  const key = h(
    "button.tool",
    { type: "button", id: "token-button", onclick: () => api.askForToken() },
    icon("key"),
    h("span"),
  );
  const theme = h(
    "button.tool.icon-button",
    { type: "button", id: "theme-button", onclick: () => window.pagentTheme.next() },
    icon("theme"),
  );
  const help = h(
    "button.tool.icon-button",
    {
      type: "button",
      id: "help-button",
      "aria-label": "Keyboard shortcuts",
      title: "Keyboard shortcuts (?)",
      onclick: openKeys,
    },
    icon("help"),
  );
  document.getElementById("tools").append(status, key, theme, help);
  const named = () => {
    const name = `Theme: ${window.pagentTheme.choice}`;
    theme.setAttribute("aria-label", `${name}. Change it`);
    theme.title = `${name} (t)`;
  };
  window.addEventListener("themechange", named);
  named();
  api.addEventListener("token", () => tokenState(api, key));
  tokenState(api, key);
  const ask = formOnce(app);
  live.addEventListener("change", () => {
    linkState(live, status);
    if (live.state === "unauthorized") ask(live.error);
  });
  api.addEventListener("ask", () => ask());
  // Without a token the router lets this page read; with one that it does not take, it lets it do nothing.
  api.addEventListener("unauthorized", (event) => {
    if (live.state !== "live") return;
    if (api.token) live.start();
    else ask(event.detail);
  });
  banner(app);
}

const WORDS = { connecting: "Connecting", live: "Live", lost: "Not connected", unauthorized: "Token needed" };

function linkState(live, element) {
  element.dataset.state = live.state;
  setText(element, WORDS[live.state]);
}

function tokenState(api, button) {
  const { caller } = api;
  const mayChange = caller && ["jobs", "files", "exec", "admin"].some((scope) => !api.refusal(scope));
  const named = caller?.name ? harmless(caller.name) : null;
  const text = api.token || mayChange ? (named ?? (api.token ? "Token" : "All rights")) : "Read-only";
  setText(button.lastElementChild, text);
  button.setAttribute("aria-label", `${text}. ${api.token ? "The token of this page" : "Give a token"}`);
  button.title = api.token ? "The token of this page" : "Give a token";
}

// One form at a time.
function formOnce(app) {
  let form = null;
  return (error = null) => {
    form ??= openToken(app, error).finally(() => {
      form = null;
    });
  };
}

// The form of the token. It is kept until the tab is closed.
function openToken({ api, useToken }, error = null) {
  return openDialog("Token", (close) => {
    const field = h("input", {
      type: "password",
      id: "token",
      name: "token",
      autocomplete: "off",
      spellcheck: "false",
      autofocus: true,
      required: true,
      pattern: "\\s*(\\S*#token=)?[!-~]+\\s*",
      title: "A token has letters, digits and signs, and no spaces",
      "aria-describedby": "token-help",
    });
    const send = (event) => {
      event.preventDefault();
      close("given");
      useToken(field.value.trim().replace(/^.*#token=/, "")); // the address that the command prints will do
    };
    const forget = () => {
      close("forgotten");
      useToken(null);
    };
    return [
      h(
        "form.dialog-body",
        { method: "dialog", onsubmit: send },
        error ? h("p.problem", { role: "alert" }, sentence(error)) : null,
        rights(api),
        h("label.field", { for: "token" }, h("span", {}, api.token ? "Another token" : "Token"), field),
        h(
          "p.hint",
          { id: "token-help" },
          "The command that started the dashboard prints one, and the operator of the router gives them out. This page " +
            "keeps it until the tab is closed.",
        ),
        h(
          "div.dialog-actions",
          {},
          api.token ? h("button", { type: "button", id: "token-forget", onclick: forget }, "Forget the token") : null,
          h("button.primary", { type: "submit" }, "Use this token"),
        ),
      ),
    ];
  });
}

function sentence(error) {
  return error.requestId ? `${error.message} (request ${error.requestId})` : error.message;
}

function rights(api) {
  const { caller } = api;
  if (!caller) return null;
  const scopes = caller.scopes.length ? caller.scopes : caller.open ? ["everything"] : [];
  const rows = [];
  if (caller.name) rows.push(h("dt", {}, "Name"), h("dd", {}, harmless(caller.name)));
  rows.push(h("dt", {}, "May"), h("dd.chips", {}, ...scopes.map((scope) => h("span.chip", {}, harmless(scope)))));
  if (caller.expires_at) rows.push(h("dt", {}, "Until"), h("dd", {}, localTime(caller.expires_at)));
  return h("dl.facts", { id: "rights" }, ...rows);
}

function banner(app) {
  const { live, store } = app;
  const element = document.getElementById("banner");
  const text = h("span");
  const again = h("button", { type: "button", id: "retry", onclick: () => live.start() }, "Try now");
  element.append(text, again);
  const update = () => {
    const isLost = live.state === "lost" || (live.state === "unauthorized" && !document.querySelector("dialog[open]"));
    const isSkewed = !isLost && Math.abs(store.skew) >= 60;
    element.hidden = !isLost && !isSkewed;
    element.classList.toggle("is-lost", isLost);
    again.hidden = !isLost;
    if (isLost) setText(text, lostText(live, store.isListed));
    else if (isSkewed) setText(text, skewText(store.skew));
  };
  live.addEventListener("change", update);
  store.on("clock", update);
  setInterval(() => {
    if (live.retryAt) update();
  }, 1000);
}

function lostText(live, isListed) {
  const what = live.error?.status ? sentence(live.error) : isListed ? "Connection lost" : "The router does not answer";
  if (live.retryAt === null) return `${what}. Trying again…`;
  const seconds = Math.max(1, Math.ceil((live.retryAt - Date.now()) / 1000));
  return `${what}.${isListed ? " The page is as it was then." : ""} Trying again in ${seconds} s.`;
}

function skewText(skew) {
  const side = skew > 0 ? "slow" : "fast";
  return `The clock of this device is ${duration(Math.abs(skew))} ${side}. Ages are by the clock of the router.`;
}
