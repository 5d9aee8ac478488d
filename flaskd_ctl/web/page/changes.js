// Changes: what the server offers now, its question, the call, and the outcome.

import { failure } from "./asking.js";
import { fill, make, setText } from "./element.js";
import { confirmed } from "./question.js";
import { call, change } from "./server.js";

const LABELS = {
  more: "Add a worker",
  fewer: "Remove a worker",
  restart: "Restart worker",
  cancel: "Cancel request",
};

const labelOf = ({ name, label }) => LABELS[name] || label;

export class Changes {
  #changed;
  #said = document.getElementById("said");
  #outcome = document.getElementById("outcome"); // a live region: what is written there is read out
  #more = document.getElementById("outcome-more");
  #close = document.getElementById("outcome-close");

  /** `changed` is called after each change. */
  constructor(changed) {
    this.#changed = changed;
    this.#close.addEventListener("click", () => this.#show("", ""));
  }

  /** Fill the toolbar with what can be done to the whole instance now; what does not apply is not there. */
  offer(toolbar, instance) {
    const offered = instance.changes.filter(({ panel }) => !panel);
    toolbar.hidden = !offered.length;
    const shown = JSON.stringify([instance.label, offered]);
    if (toolbar.dataset.shown === shown) return;
    toolbar.dataset.shown = shown;
    const hadFocus = toolbar.contains(document.activeElement);
    fill(
      toolbar,
      offered.map((kind) => this.#button(kind, instance, () => ({}))),
    );
    if (hadFocus) toolbar.querySelector("button")?.focus();
  }

  /** Make a button for a change of a worker or a request, which `row` gives; null if it is not offered. */
  button(name, instance, row) {
    const kind = instance.changes.find((each) => each.name === name);
    return kind ? this.#button(kind, instance, row) : null;
  }

  /** Make a column of buttons for a table; none where the change is not offered. */
  column(name, instance) {
    const kind = instance.changes.find((each) => each.name === name);
    return kind
      ? [{ field: name, title: labelOf(kind), button: (row) => this.#button(kind, instance, row, row()) }]
      : [];
  }

  /** In a table a button is short; `named` is the row that it is for. */
  #button(kind, instance, row, named = null) {
    const click = () => this.#begin(kind, instance, row());
    const name = named ? `${labelOf(kind)} ${named.id ?? named.worker}` : null;
    return make(
      "button",
      { type: "button", class: `change ${kind.name}`, "aria-label": name, click },
      named ? kind.label : labelOf(kind),
    );
  }

  async #begin(kind, instance, { worker, id }) {
    const label = labelOf(kind);
    try {
      const asked = await change(instance.label, kind.name, { worker, id });
      if (!(await confirmed(asked, label))) return;
      this.#say(`${label}: ${instance.label} is asked …`, make("p", { class: "going-on note" }));
      const { text } = await call(instance.label, asked.method, asked.params);
      this.#say(text || `${label}: done.`);
    } catch (error) {
      this.#fail(`${label} failed`, error);
    }
    this.#changed();
  }

  /** Say how a change goes on. It is not read out: there may be much of it. */
  progress({ method, event = {} }) {
    const line = this.#more.querySelector(".going-on");
    if (!line) return;
    const what = event.worker
      ? `worker ${event.worker} is ${event.state}`
      : event.phase || event.state || "goes on";
    setText(line, `${method}: ${what}`);
  }

  /** Announce an outcome; it stays until it is closed, or until the next one. */
  #say(text, ...more) {
    this.#show(text, "shown", ...more);
  }

  #fail(text, error) {
    this.#show(text, "shown failed", failure(error));
  }

  #show(text, kind, ...more) {
    setText(this.#outcome, text);
    fill(this.#more, more);
    this.#said.className = `said ${kind}`;
    this.#close.hidden = !kind;
  }
}
