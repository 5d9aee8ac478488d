// The top of the page: which instance it is, its state, and what can be changed; the other instances; what is wrong.

import { fill, make, setAttribute, setText } from "./element.js";
import { href } from "./places.js";
import { sentences, span } from "./units.js";
import { explained } from "./words.js";

const GOOD = new Set(["running"]);
const BAD = new Set(["away", "degraded", "stopped"]);

const tone = (state) => (GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : "warn");

const find = (id) => document.getElementById(id);

export class Header {
  #name = find("name");
  #facts = find("facts");
  #toolbar = find("toolbar");
  #notice = find("notice");
  #instances = find("instances");
  #news = find("news"); // a live region
  #last = ["", ""]; // an instance, and the state in which it was
  #changes;
  #wrong = null; // why the server cannot be asked

  constructor(changes) {
    this.#changes = changes;
  }

  /** Show what is known of the instance. */
  show(instance) {
    setText(this.#name, instance.label);
    document.title = `${instance.label} ${instance.away ? "away" : instance.state} · flaskd`;
    this.#showFacts(instance);
    this.#announce(instance);
    if (this.#wrong) this.#toolbar.hidden = true;
    else this.#changes.offer(this.#toolbar, instance);
    this.#showNotice(instance);
  }

  /** Say why the server of this page cannot be asked; null: it can. */
  lost(error, instance) {
    this.#wrong = error;
    if (error) this.#toolbar.hidden = true;
    this.#showNotice(instance);
  }

  /** Show all instances, if there are several. */
  list(instances, chosen) {
    this.#instances.hidden = instances.length < 2;
    const shown = JSON.stringify([instances.map(({ label, state }) => [label, state]), chosen]);
    if (this.#instances.dataset.shown === shown) return;
    this.#instances.dataset.shown = shown;
    const focused = document.activeElement?.closest("#instances a")?.getAttribute("data-label");
    const links = instances.map(({ label, state }) =>
      make(
        "li",
        {},
        make(
          "a",
          {
            href: href(label, "overview"),
            "data-label": label,
            "aria-current": label === chosen ? "true" : null,
          },
          make("span", { class: "label" }, label),
          make("span", { class: `state ${tone(state)}` }, state),
        ),
      ),
    );
    fill(this.#instances, make("ul", {}, links));
    if (focused) this.#instances.querySelector(`[data-label="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Have a change of state read out; whether it is away is in the notice, which is read out too. */
  #announce({ label, state, away, asked }) {
    if (!asked || away) return;
    const [known, before] = this.#last;
    if (known === label && before !== state) setText(this.#news, `${label} is ${state}.`);
    this.#last = [label, state];
  }

  #showFacts({ state, away, status, role, asked }) {
    if (!asked) return fill(this.#facts, make("li", {}, "connecting …"));
    const { ready, uptime, versions = {}, engine, phase, deadline_left: left } = status;
    const facts = [
      ["state", away ? "away" : state, `state ${tone(away ? "away" : state)}`],
      away
        ? null
        : [
            "rotation",
            ready ? "in rotation" : "not in rotation",
            ready ? "" : "warn",
            explained("inRotation"),
          ],
      phase && !away ? ["phase", `${phase}, ${span(left)} left`, "warn"] : null,
      typeof uptime === "number" ? ["uptime", `up ${span(uptime)}`, "", explained("uptime")] : null,
      versions.flaskd ? ["version", `flaskd ${versions.flaskd}`, ""] : null,
      versions.python ? ["python", `Python ${versions.python}`, ""] : null,
      engine ? ["engine", `engine ${engine}`, ""] : null,
      role ? ["role", `you: ${role}`, "", explained("role")] : null,
    ].filter(Boolean);
    for (const [name, text, kind, why] of facts) {
      const item =
        this.#facts.querySelector(`[data-fact=${name}]`) ||
        this.#facts.appendChild(make("li", { "data-fact": name }));
      setText(item, text);
      setAttribute(item, "class", kind || null);
      setAttribute(item, "title", why);
    }
    const names = new Set(facts.map(([name]) => name));
    for (const item of [...this.#facts.children]) if (!names.has(item.dataset.fact)) item.remove();
  }

  #showNotice(instance) {
    const away = instance?.away && `${instance.label} is away: ${instance.away}`;
    const { message, hint } = this.#wrong || {};
    const text = this.#wrong
      ? sentences(message, hint)
      : away
        ? sentences(away, "This is what was seen last", "The page tries again by itself")
        : "";
    setText(this.#notice, text);
    this.#notice.hidden = !text;
  }
}
