// The dialog that asks before a change. It is modal: the keyboard stays in it, and Escape means no.

import { setText } from "./element.js";

const dialog = document.getElementById("question");

/** Ask; tell whether the answer was yes. `yes` is what the button says. */
export function confirmed({ question, explained }, yes) {
  setText(document.getElementById("question-title"), question);
  setText(document.getElementById("question-text"), explained || "");
  setText(document.getElementById("question-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((answered) => {
    dialog.addEventListener("close", () => answered(dialog.returnValue === "yes"), { once: true });
  });
}
