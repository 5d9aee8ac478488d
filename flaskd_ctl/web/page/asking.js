// A part of a view that shows the result of a command: it asks, says that it waits, and says why there is nothing.

import { fill, make, setText } from "./element.js";
import { call } from "./server.js";
import { sentences } from "./units.js";

/** Make elements that say why a command did not do what it should; its traceback, if the error has one. */
export function failure(error) {
  return [
    make("p", { class: "bad" }, sentences(error.message)),
    error.hint ? make("p", { class: "note" }, sentences(error.hint)) : null,
    error.data?.traceback ? traceback(error.data.traceback) : null,
  ];
}

/** Make a box for a traceback or another text of many lines, which can be scrolled with the keyboard. */
export function traceback(text, label = "Traceback") {
  return make(
    "pre",
    { class: "traceback", tabindex: "0", role: "region", "aria-label": label },
    text.trimEnd(),
  );
}

const now = (value) => (typeof value === "function" ? value() : value);

/** Errors after which what was seen last stays. */
const GONE = new Set(["server_gone", "stopped", "not_running", "unreachable", "connection_lost", "timeout"]);

export class Answer {
  #label;
  #method;
  #params;
  #shown;
  #every;
  #without;
  #refused;
  #answered = false;
  #older = false; // whether it has refused that parameter
  #timer = 0;
  #ended = new AbortController();
  #paused;
  #content = make("div", { class: "view" });
  #wrong = make("div", { class: "wrong" });
  element = make("div", {}, this.#wrong, this.#content);

  /**
   * Ask the instance of `context` and give the result to `show(result, content)`, which fills `content`.
   * With `every`, ask again after so many seconds, unless updates are paused; it and `params` may be functions. `without` is a
   * parameter that an older instance may not know; it is then asked without it. `refused` is called when there is no answer.
   */
  constructor(context, method, params, show, { every = 0, without = "", refused = () => {} } = {}) {
    this.#label = context.label;
    this.#method = method;
    this.#params = params;
    this.#shown = show;
    this.#every = every;
    this.#without = without;
    this.#refused = refused;
    this.#paused = context.paused;
    setText(this.#content, "Loading …");
    this.ask();
  }

  /** Ask now. */
  async ask() {
    clearTimeout(this.#timer);
    this.element.setAttribute("aria-busy", "true");
    try {
      const { result } = await this.#asked();
      fill(this.#wrong);
      this.#answered = true;
      if (this.#content.textContent === "Loading …") fill(this.#content);
      this.#shown(result, this.#content);
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      if (this.#answered && GONE.has(error.name)) return; // the top of the page says it, and this goes on
      fill(this.#content);
      fill(this.#wrong, failure(error));
      this.#refused();
    } finally {
      this.element.removeAttribute("aria-busy");
      if (!this.#ended.signal.aborted) this.#wait();
    }
  }

  /** Ask no more. */
  close() {
    this.#ended.abort();
    clearTimeout(this.#timer);
  }

  async #asked() {
    const params = { ...now(this.#params) };
    if (this.#older) delete params[this.#without];
    try {
      return await call(this.#label, this.#method, params, this.#ended.signal);
    } catch (error) {
      if (error.name !== "invalid_params" || !(this.#without in params)) throw error;
      this.#older = true;
      return this.#asked();
    }
  }

  #wait() {
    const seconds = now(this.#every);
    if (seconds) this.#timer = setTimeout(() => this.#again(), 1000 * seconds);
  }

  #again() {
    if (this.#ended.signal.aborted) return;
    if (this.#paused() || document.hidden) this.#wait();
    else this.ask();
  }
}
