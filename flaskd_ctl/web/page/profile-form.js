// What a profile is asked with: for how long, of which endpoint and worker. It says how far it is, and can stop it.

import { failure } from "./asking.js";
import { fill, make } from "./element.js";
import { call } from "./server.js";
import { count } from "./units.js";

const TICK = 250; // milliseconds between two steps of the bar

export class ProfileForm {
  #label;
  #said;
  #taken;
  #seconds = make("input", { type: "number", min: "1", max: "600", step: "1", value: "10", required: true });
  #endpoint = make("select", {});
  #worker = make("select", {});
  #start = make("button", { type: "submit", class: "primary" }, "Start");
  element;

  /** Profiles the instance `label`. `taken(result, origin)` gets each profile; what is said of it stands in `said`. */
  constructor(label, { said, taken }) {
    this.#label = label;
    this.#said = said;
    this.#taken = taken;
    const field = (text, control) => make("label", {}, make("span", {}, text), control);
    const submit = (event) => {
      event.preventDefault();
      this.#take();
    };
    this.element = make(
      "form",
      { class: "row", submit },
      field("Seconds", this.#seconds),
      field("Endpoint", this.#endpoint),
      field("Worker", this.#worker),
      this.#start,
    );
  }

  /** Offer the endpoints and workers that there are now. */
  show({ stats, status }) {
    const endpoints = (stats.endpoints || []).map(({ endpoint }) => endpoint).filter(Boolean);
    offer(
      this.#endpoint,
      endpoints.map((name) => [name, name]),
    );
    offer(
      this.#worker,
      (status.workers || []).map(({ id }) => [String(id), `worker ${id}`]),
    );
  }

  /** Choose an endpoint, also one that has served nothing yet. */
  choose(endpoint) {
    offer(this.#endpoint, [[endpoint, endpoint]]);
    this.#endpoint.value = endpoint;
  }

  async #take() {
    const [seconds, endpoint, worker] = [this.#seconds, this.#endpoint, this.#worker].map(
      ({ value }) => value,
    );
    const params = {
      seconds: Number(seconds),
      ...(endpoint && { endpoint }),
      ...(worker && { worker: Number(worker) }),
    };
    const stop = new AbortController();
    this.#start.disabled = true;
    const ended = this.#progress(params.seconds, stop);
    try {
      const { result } = await call(this.#label, "profile", params, stop.signal);
      fill(this.#said, make("p", {}, summary(result)));
      this.#taken(result, [this.#label, `${seconds} s`, endpoint].filter(Boolean).join(", "));
    } catch (error) {
      const stopped = stop.signal.aborted;
      fill(this.#said, stopped ? make("p", {}, "Stopped: there is no profile.") : failure(error));
    } finally {
      ended();
      this.#start.disabled = false;
    }
  }

  /** Show how far it is; returns what ends that. */
  #progress(seconds, stop) {
    const bar = make("progress", { max: seconds, value: "0", "aria-label": "Time of the profile" });
    const button = make("button", { type: "button", click: () => stop.abort() }, "Stop");
    const text = make("p", {}, `Taking samples for ${count(seconds, "second")} …`);
    fill(this.#said, text, make("div", { class: "row" }, bar, button));
    const began = performance.now();
    const timer = setInterval(() => {
      bar.value = (performance.now() - began) / 1000;
    }, TICK);
    return () => clearInterval(timer);
  }
}

/** Offer "all" and these [value, text], and what is chosen; a list that somebody has open stays as it is. */
function offer(select, choices) {
  const chosen = select.value;
  const known = new Map([
    ["", "all"],
    ...(chosen ? [[chosen, select.selectedOptions[0].text]] : []),
    ...choices,
  ]);
  const names = [...known.keys()].sort().join("\n");
  if (select.dataset.names === names || select === document.activeElement) return;
  select.dataset.names = names;
  fill(
    select,
    [...known].map(([value, text]) => make("option", { value, selected: value === chosen }, text)),
  );
}

function summary({ workers = [] }) {
  const sum = (field) => workers.reduce((all, one) => all + (one[field] || 0), 0);
  const silent = workers.filter(({ error }) => error).length;
  const parts = [`${count(sum("samples"), "look")} at ${count(workers.length - silent, "worker")}`];
  if (sum("missed")) parts.push(`${sum("missed")} were missed, as code held the GIL`);
  if (silent) parts.push(`${count(silent, "worker")} did not reply`);
  return `${parts.join("; ")}.`;
}
