// The tab of the tickets of a job: the browsers that may use it.

import { refusals } from "./actions.js";
import { allow, empty, plainTable, tokenButton, whenAllowed } from "./chips.js";
import { confirmAction, failure, message } from "./dialog.js";
import { framed, h } from "./dom.js";
import * as format from "./format.js";
import { makeTicket } from "./ticket_form.js";

const REFRESH_MS = 500;

// Mount it; return {end(), update(job)}.
export function mountTickets(element, job, api, { store }) {
  const path = `jobs/${encodeURIComponent(job.uid)}/tickets`;
  const body = h("div", { id: "tickets" });
  const end = new AbortController();
  const make = h(
    "button",
    {
      type: "button",
      "data-action": "ticket",
      onclick: whenAllowed(async () => {
        if (await makeTicket(api, current)) refresh();
      }),
    },
    "Make a ticket…",
  );
  element.append(
    h(
      "div.panel-bar",
      {},
      h(
        "p.hint",
        {},
        "A ticket lets one browser use the ports of the job, until it ends or is revoked. “Open” makes one.",
      ),
      make,
    ),
    body,
  );
  let current = job;
  const update = (given) => {
    current = given;
    allow(make, refusals(current, api).ticket);
  };
  const refresh = async () => {
    const reason = api.refusal("proxy", { job });
    if (reason || job.removed_at) {
      body.replaceChildren(
        job.removed_at ? empty("The job is removed, and its tickets with it.") : empty(reason, tokenButton(api)),
      );
      return;
    }
    try {
      const tickets = await api.all(path, "tickets", {}, end.signal);
      body.replaceChildren(tickets.length ? list(tickets, job, api, refresh) : empty("No tickets"));
    } catch (error) {
      if (error.name !== "AbortError")
        body.replaceChildren(empty("The tickets could not be listed", h("p", {}, error.message)));
    }
  };
  update(job);
  refresh();
  // Tickets that others make, and “Open”, are events.
  const soon = framed(refresh, REFRESH_MS);
  end.signal.addEventListener("abort", soon.cancel);
  end.signal.addEventListener("abort", store.on("tickets", soon));
  return { end: () => end.abort(), update };
}

function list(tickets, job, api, refresh) {
  const rows = tickets.map((ticket) => {
    const revoke = h(
      "button",
      {
        type: "button",
        "aria-label": `Revoke the ticket ${ticket.id}`,
        onclick: whenAllowed(() => revokeTicket(ticket, job, api, refresh)),
      },
      "Revoke",
    );
    allow(revoke, api.refusal("proxy", { job }));
    const text = (value) => (value === null ? format.NONE : format.shortened(value));
    const ends = h("time", { datetime: ticket.expires_at }, format.localTime(ticket.expires_at));
    return {
      key: ticket.id,
      cells: [text(ticket.subject), text(ticket.note), ticket.ports.join(", "), text(ticket.created_by), ends, revoke],
    };
  });
  return plainTable("Tickets", ["Subject", "Note", "Ports", "Made by", "Ends", ""], rows);
}

async function revokeTicket(ticket, job, api, refresh) {
  const sure = await confirmAction({
    title: "Revoke the ticket?",
    subject: ticket.subject ? format.shortened(ticket.subject) : `Ticket ${format.shortened(ticket.id)}`,
    text: `What it has open of ${format.jobName(job)} is closed, and it opens nothing more.`,
    action: "Revoke",
  });
  if (!sure) return;
  try {
    await api.send("DELETE", `jobs/${encodeURIComponent(job.uid)}/tickets/${encodeURIComponent(ticket.id)}`);
    message("The ticket is revoked.");
  } catch (error) {
    failure("The ticket could not be revoked.", error);
  }
  refresh();
}
