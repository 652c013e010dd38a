// The form of a ticket: for another person, or for other terms than those of “Open” (docs/api.rst, "Tickets").

import { copyButton } from "./chips.js";
import { confirmAction, failure, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import * as format from "./format.js";

const HOUR_S = 3600;
const VALID = [
  [HOUR_S / 4, "15 minutes"],
  [HOUR_S, "1 hour"],
  [4 * HOUR_S, "4 hours"],
  [12 * HOUR_S, "12 hours"],
];
const OPENED = [
  [60, "1 minute"],
  [HOUR_S / 4, "15 minutes"],
  [HOUR_S, "1 hour"],
  [12 * HOUR_S, "12 hours"],
];
const PORTS_MAX = 16;

// Ask for the terms, make the ticket, and display its addresses; return whether there is one.
export async function makeTicket(api, job) {
  const name = format.jobName(job);
  const answer = await confirmAction({
    title: "Make a ticket",
    subject: name,
    text: "It lets the browser that opens its address first use these ports of the job.",
    fields: fields(job),
    action: "Make the ticket",
    danger: false,
  });
  if (!answer) return false;
  try {
    const ticket = await api.send("POST", `jobs/${encodeURIComponent(job.uid)}/tickets`, termsOf(answer));
    displayTicket(ticket, name, answer.code_s);
    return true;
  } catch (error) {
    failure(`There is no ticket for ${name}.`, error);
    return false;
  }
}

// Return the body of the request for the values of the form.
export function termsOf({ ports, ttl_s, code_s, subject, note, embed }) {
  const terms = { ttl_s: Number(ttl_s), code_s: Math.min(Number(code_s), Number(ttl_s)) };
  const numbers = ports
    .split(/[\s,]+/)
    .filter(Boolean)
    .map(Number);
  if (numbers.length) terms.ports = numbers;
  for (const [key, text] of Object.entries({ subject, note })) if (text.trim()) terms[key] = text.trim();
  if (embed) terms.embed = true;
  return terms;
}

function fields(job) {
  const ports = job.ports ?? [];
  return [
    field("Ports", {
      name: "ports",
      value: ports.slice(0, 1).join(),
      required: !ports.length,
      pattern: `\\s*\\d+([\\s,]+\\d+){0,${PORTS_MAX - 1}}\\s*`,
      title: `Numbers of ports, at most ${PORTS_MAX}`,
      placeholder: ports.length > 1 ? `Of ${ports.join(", ")}` : null,
      inputmode: "numeric",
    }),
    h(
      "div.field-row",
      {},
      choice("Valid for", "ttl_s", VALID, 12 * HOUR_S),
      choice("To be opened within", "code_s", OPENED, 60),
    ),
    field("For (a name for the logs)", { name: "subject", maxlength: "128" }),
    field("Note (for the list)", { name: "note", maxlength: "256" }),
    h(
      "label.check",
      {},
      h("input", { type: "checkbox", name: "embed", value: "1" }),
      h("span", {}, "The page of a portal may display it in a frame"),
    ),
  ];
}

function field(label, properties) {
  const input = h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...properties });
  return h("label.field", {}, h("span", {}, label), input);
}

function choice(label, name, options, chosen) {
  const entries = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("label.field", {}, h("span", {}, label), h("select", { name }, ...entries));
}

// An address opens the job once, for any browser: it is displayed to this person alone, and not kept.
function displayTicket({ urls, expires_at }, name, codeS) {
  const within = OPENED.find(([seconds]) => seconds === Number(codeS))[1];
  const rows = Object.entries(urls).map(([port, url]) =>
    h("div.command", {}, h("code", {}, url), copyButton(url, `The address of port ${port}`)),
  );
  openDialog("The ticket is made", () => [
    h(
      "div.dialog-body",
      {},
      h("p.dialog-subject", {}, name),
      h(
        "p",
        {},
        `Send ${rows.length === 1 ? "this address" : "these addresses"} to one person, who opens it within ${within}, once.`,
      ),
      ...rows,
      h("p.hint", {}, `The ticket ends at ${format.localTime(expires_at)}.`),
    ),
  ]);
}
