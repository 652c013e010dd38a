// The question whether a file that exists is replaced by an upload.

import { confirmAction } from "./dialog.js";
import { h } from "./dom.js";
import { shortened } from "./format.js";

// One question is open at a time, whatever the batch.
let asking = Promise.resolve();

// The question of one batch, which remembers an answer for all of its files.
export class ReplaceQuestion {
  #forAll = null;

  // Return whether the file at a path may be replaced.
  ask(path) {
    const asked = asking.then(() => this.#forAll ?? this.#ask(path));
    asking = asked.catch(() => {});
    return asked;
  }

  async #ask(path) {
    const answer = await confirmAction({
      title: "The file exists",
      subject: shortened(path),
      text: "There is a file of this name in the folder of the job.",
      action: "Continue",
      fields: [choice(), check({ type: "checkbox", name: "all" }, "The same for all files")],
    });
    const isReplaced = answer !== false && answer.what === "replace";
    if (answer !== false && answer.all) this.#forAll = isReplaced;
    return isReplaced;
  }
}

function choice() {
  return h(
    "fieldset.choice",
    {},
    h("legend.unseen", {}, "What to do"),
    check({ type: "radio", name: "what", value: "replace", checked: true }, "Replace it"),
    check({ type: "radio", name: "what", value: "skip" }, "Keep it, and skip this file"),
  );
}

function check(properties, label) {
  return h("label.check", {}, h("input", properties), h("span", {}, label));
}
