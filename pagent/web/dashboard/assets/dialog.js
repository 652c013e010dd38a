// Dialogs and messages. <dialog> keeps the focus inside, closes on Escape, and gives the focus back.

import { h, icon } from "./dom.js";

const MESSAGE_MS = 6000;
const MESSAGES_MAX = 4;

let ids = 0;

// Open a dialog; the promise resolves with the argument of ``close``, null on Escape.
// ``build``: takes close, and returns the elements of its content.
export function openDialog(title, build, { kind = "" } = {}) {
  const before = document.activeElement;
  const titleId = `dialog-${(ids += 1)}`;
  return new Promise((resolve) => {
    let result = null;
    const dialog = h(`dialog.dialog${kind ? `.${kind}` : ""}`, { "aria-labelledby": titleId });
    const close = (value = null) => {
      result = value;
      dialog.close();
    };
    const closing = h(
      "button.icon-button",
      { type: "button", "aria-label": "Close", onclick: () => close() },
      icon("close"),
    );
    dialog.append(h("header.dialog-head", {}, h("h2", { id: titleId }, title), closing), ...build(close));
    dialog.addEventListener("close", () => {
      const area = document.getElementById("toasts");
      if (dialog.contains(area)) document.body.append(area);
      dialog.remove();
      const back = before instanceof HTMLElement && before !== document.body && before.isConnected;
      (back ? before : document.getElementById("main")).focus({ preventScroll: true });
      resolve(result);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) close();
    });
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("[autofocus]")?.focus();
  });
}

// Ask before something that cannot be undone. The answer is false, or the values of the fields.
// ``subject``: the name of the object of the action; ``fields``: elements with a name.
export async function confirmAction({ title, subject, text, action, fields = [], danger = true }) {
  const answer = await openDialog(title, (close) => {
    const send = (event) => {
      event.preventDefault();
      close(Object.fromEntries(new FormData(event.target)));
    };
    const cancel = h("button", { type: "button", autofocus: danger, onclick: () => close() }, "Cancel");
    const confirm = h(`button.${danger ? "danger" : "primary"}`, { type: "submit", "data-action": "confirm" }, action);
    return [
      h(
        "form.dialog-body",
        { method: "dialog", onsubmit: send },
        subject ? h("p.dialog-subject", {}, subject) : null,
        h("p", {}, text),
        ...fields,
        h("div.dialog-actions", {}, cancel, confirm),
      ),
    ];
  });
  return answer ?? false;
}

// Say something for a while, which lasts while the reader is at it. Errors stay until they are closed. While a dialog is open
// all other elements are inert, so messages are in the dialog.
export function message(text, { kind = "info", detail = null } = {}) {
  const area = document.getElementById("toasts");
  const place = document.querySelector("dialog[open]") ?? document.body;
  if (area.parentElement !== place) place.append(area);
  const end = () => {
    const hasFocus = toast.contains(document.activeElement);
    toast.remove();
    if (hasFocus) (area.querySelector("button") ?? placeOf(area)).focus();
  };
  const endLater = () => setTimeout(() => (toast.matches(":hover, :focus-within") ? endLater() : end()), MESSAGE_MS);
  const toast = h(
    `div.toast.${kind}`,
    { role: kind === "error" ? "alert" : "status" },
    h("div.toast-text", {}, h("p", {}, text), detail ? h("p.detail", {}, detail) : null),
    h("button.icon-button", { type: "button", "aria-label": "Close this message", onclick: end }, icon("close")),
  );
  area.append(toast);
  while (area.children.length > MESSAGES_MAX) area.firstElementChild.remove();
  if (kind !== "error") endLater();
}

// What takes the focus after the last message: the button that closes the dialog, or the view.
function placeOf(area) {
  return area.closest("dialog")?.querySelector("button") ?? document.getElementById("main");
}

// Say why something failed, in the words of the server.
export function failure(what, error) {
  const lines = [error.message];
  if (error.status) lines.push(`Status ${error.status}${error.requestId ? `, request ${error.requestId}` : ""}`);
  message(what, { kind: "error", detail: lines.join("\n") });
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
