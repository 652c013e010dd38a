// The view of one agent.

import { allow, copyButton, empty, whenAllowed } from "./chips.js";
import { confirmAction, failure, message } from "./dialog.js";
import { framed, h, keepFocus, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { hostMeters, jobsText, refreshing, stateOf, upTime } from "./hosts.js";

export function mountAgent(element, app, [uid]) {
  const { api, store } = app;
  const title = h("h1");
  const tag = h("span.tag");
  const cordon = h("button", {
    type: "button",
    "data-action": "cordon",
    onclick: whenAllowed(() => changeCordon(app, store.agents.get(uid))),
  });
  const jobs = h("a.button", { href: `#/jobs?q=${encodeURIComponent(`agent:${uid}`)}` }, "Its jobs");
  const body = h("div.agent-body");
  element.append(
    h("nav.crumbs", { "aria-label": "Where this is" }, h("a", { href: "#/agents" }, "Agents")),
    h("div.view-head", {}, title, tag, h("div.actions", {}, jobs, cordon)),
    body,
  );
  const fill = framed(() => {
    const agent = store.agents.get(uid);
    cordon.hidden = jobs.hidden = !agent;
    setText(title, agent ? format.shortened(agent.name || agent.uid) : format.shortened(uid));
    if (!agent) {
      tag.hidden = true;
      body.replaceChildren(empty(store.isListed ? "No agent with this uid is connected" : "Asking for the agent…"));
      return;
    }
    const [key, word] = stateOf(agent);
    tag.hidden = false;
    setAttribute(tag, "data-tag", key);
    setText(tag, word);
    setText(cordon, agent.cordoned ? "Take jobs again" : "Cordon");
    allow(cordon, agent.awaySince === undefined ? api.refusal("admin", { agent }) : "The agent is not connected.");
    keepFocus(body, () => fillAgent(body, agent, app));
  });
  const ends = [store.on("agents", fill), refreshing(app)];
  const token = () => fill();
  api.addEventListener("token", token);
  fill();
  return {
    title: format.shortened(store.agents.get(uid)?.name ?? uid, 60),
    end() {
      api.removeEventListener("token", token);
      ends.forEach((end) => end());
      fill.cancel();
    },
  };
}

function fillAgent(body, agent, { store }) {
  const drawn = JSON.stringify(agent);
  if (body.dataset.drawn === drawn) return;
  body.dataset.drawn = drawn;
  const row = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  const time = (text) => (text ? `${format.localTime(text)} (${text})` : format.NONE);
  body.replaceChildren(
    h("section.card", { "aria-label": "Load" }, h("h2", {}, "Host"), hostMeters(agent)),
    h(
      "section.card",
      { "aria-label": "Facts" },
      h("h2", {}, "Facts"),
      h(
        "dl.facts",
        {},
        ...row("Uid", h("code", {}, format.shortened(agent.uid)), copyButton(agent.uid, "The uid")),
        ...row("Jobs", jobsText(agent)),
        ...row("Version", format.shortened(agent.version ?? "–")),
        ...row(
          "Started",
          time(agent.started_at),
          agent.started_at ? `, up ${format.duration(upTime(agent, store))}` : "",
        ),
        ...(agent.deadline ? row("Ends", time(agent.deadline)) : []),
        ...row(
          "Links",
          ...(agent.links ?? []).map((link) =>
            h(
              "div",
              {},
              h("code", {}, format.shortened(link.connection, 60)),
              ` ${link.mode === "SERVER" ? "the agent dialled" : "the router dialled"}`,
            ),
          ),
        ),
      ),
    ),
    named("Platform", agent.platform),
    named("Properties", agent.properties),
  );
}

function named(title, values) {
  const rows = Object.entries(values ?? {}).flatMap(([name, value]) => [
    h("dt", {}, format.shortened(name, 120)),
    h("dd", {}, format.shortened(typeof value === "string" ? value : JSON.stringify(value), 1000)),
  ]);
  return h(
    "section.card",
    { "aria-label": title },
    h("h2", {}, title),
    rows.length ? h("dl.facts", {}, ...rows) : h("p.muted", {}, "None"),
  );
}

async function changeCordon(app, agent) {
  const name = format.shortened(agent.name || agent.uid);
  const cordoned = !agent.cordoned;
  const sure = await confirmAction({
    title: cordoned ? "Cordon the agent?" : "Let the agent take jobs again?",
    subject: name,
    text: cordoned ? "It takes no new jobs from now on. Its jobs go on." : "It takes new jobs from now on.",
    action: cordoned ? "Cordon" : "Take jobs again",
    danger: false,
  });
  if (!sure) return;
  try {
    const answer = await app.api.send("PATCH", `agents/${encodeURIComponent(agent.uid)}`, { cordoned });
    app.store.agentsListed([answer], false);
    const where = answer.shared ? "" : " Only this router knows: it is an agent that cannot be asked.";
    message(`${name} ${cordoned ? "is cordoned" : "takes jobs again"}.${where}`);
  } catch (error) {
    failure(`${name} could not be changed.`, error);
  }
}
