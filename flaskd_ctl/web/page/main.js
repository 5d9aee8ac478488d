// The page: it follows the instance that the address names, shows the view that the address names, and keeps both up to date.

import { Changes } from "./changes.js";
import { fill, make } from "./element.js";
import { Header } from "./header.js";
import { Instance } from "./instance.js";
import { Live } from "./live.js";
import { href, parts } from "./places.js";
import { instances as listed } from "./server.js";
import { themeButton } from "./theme.js";
import { VIEWS, WITH_CHANGES, links } from "./views.js";

const AGAIN = 5000; // milliseconds between two looks at the list of instances
const REDRAW = 100; // milliseconds between two drawings, at least
const main = document.getElementById("main");

class Page {
  #known = []; // what the server says of all instances
  #changesAllowed = false;
  #instance = null;
  #live = null;
  #view = null;
  #place = ""; // where the view is
  #made = ""; // what the view was made for
  #paused = false;
  #redraw = 0; // a timer
  #timer = 0;
  #changes = new Changes(() => this.#list());
  #header = new Header(this.#changes);

  start() {
    themeButton(document.getElementById("theme"));
    document
      .getElementById("pause")
      .addEventListener("click", ({ currentTarget }) => this.#pause(currentTarget));
    document.getElementById("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address says where one is
      main.focus();
    });
    addEventListener("hashchange", () => this.#go());
    this.#list();
  }

  /** Ask which instances there are, again and again while somebody looks. */
  async #list() {
    clearTimeout(this.#timer);
    if (!document.hidden) {
      try {
        const { instances, changes } = await listed();
        this.#known = instances;
        this.#changesAllowed = changes;
        this.#header.lost(null, this.#instance);
        if (!this.#paused || !this.#view) this.#go();
      } catch (error) {
        this.#header.lost(error, this.#instance);
      }
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#list(), AGAIN);
  }

  /** Go where the address says; a place that is not there is the overview. */
  #go() {
    if (!this.#known.length) return;
    const [label, view] = parts(location.hash);
    const known = this.#known.some((one) => one.label === label);
    if (!known || !Object.hasOwn(VIEWS, view)) {
      history.replaceState(null, "", href(known ? label : this.#known[0].label, "overview"));
      return this.#go();
    }
    if (this.#instance?.label !== label) this.#follow(label);
    this.#header.list(this.#known, label);
    this.#show();
  }

  #follow(label) {
    this.#live?.stop();
    const instance = new Instance(label);
    instance.changesAllowed = this.#changesAllowed;
    for (const kind of ["look", "event", "log"]) instance.addEventListener(kind, () => this.#soon(kind));
    instance.addEventListener("progress", ({ detail }) => this.#changes.progress(detail));
    this.#instance = instance;
    this.#live = new Live(label, {
      heard: (kind, data) => instance.hear(kind, data),
      lost: (error) => this.#header.lost(error, instance),
    }).start();
  }

  #pause(button) {
    this.#paused = !this.#paused;
    button.setAttribute("aria-pressed", String(this.#paused));
    if (!this.#paused) this.#show();
  }

  /** Draw in a moment, if the view shows what has come: a busy log has many lines a second. */
  #soon(kind) {
    const { hears = ["look"] } = this.#view || {};
    if ((this.#paused && this.#view) || !hears.includes(kind)) return;
    this.#redraw ||= setTimeout(() => {
      this.#redraw = 0;
      this.#show();
    }, REDRAW);
  }

  /** Show the view that the address names: a new one, or the present one with what is known now. */
  #show() {
    const instance = this.#instance;
    const [label, view, ...rest] = parts(location.hash);
    if (label !== instance.label) return; // #go follows
    this.#header.show(instance);
    const place = JSON.stringify([label, view, rest]);
    const moved = place !== this.#place;
    const offered = WITH_CHANGES.has(view) ? instance.changes.filter(({ panel }) => panel) : [];
    const made = JSON.stringify([instance.asked, offered]);
    // While the instance is away the view stays as it is, with what one has typed.
    if (moved || (made !== this.#made && !(this.#view && instance.away))) {
      this.#make(view, rest, { moved: moved && this.#place !== "" });
      this.#made = made;
      this.#place = place;
    }
    this.#view?.show(instance);
  }

  #make(view, rest, { moved }) {
    const instance = this.#instance;
    const { label } = instance;
    this.#view?.close?.();
    this.#view = null;
    fill(document.getElementById("views"), links(label, view));
    if (!instance.asked) return fill(main, make("p", { class: "note" }, "Connecting …"));
    this.#view = VIEWS[view]({ label, instance, rest, changes: this.#changes, paused: () => this.#paused });
    const title = make("h2", { tabindex: "-1" }, this.#view.title);
    fill(main, title, this.#view.element);
    if (!moved) return null;
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
    return this.#view.focus?.()?.focus();
  }
}

new Page().start();
