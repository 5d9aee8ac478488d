// The live stream of an instance. The browser connects again by itself when the connection ends; when the server refuses, it
// does not, so we ask why and try again. A page that nobody looks at has no stream after a while: a browser has six
// connections to a server, and an instance that nobody looks at is not asked. What happens meanwhile is not heard, which the
// page says.

import { instances, livePath } from "./server.js";

const AGAIN = 2000; // milliseconds
const HIDDEN = 30_000; // milliseconds that a hidden page still listens

export class Live {
  #label;
  #heard;
  #lost;
  #source = null;
  #timer = 0;
  #last = ""; // the id of the last event that was heard
  #leaving = 0; // a timer
  #left = 0; // when it ceased to listen, Unix time
  #turned = () => {
    clearTimeout(this.#leaving);
    if (document.hidden) this.#leaving = setTimeout(() => this.#leave(), HIDDEN);
    else this.#return();
  };

  /** `heard(kind, data)` gets each event; `lost(error)` says that the server cannot be asked, and with null that it can. */
  constructor(label, { heard, lost }) {
    this.#label = label;
    this.#heard = heard;
    this.#lost = lost;
  }

  start() {
    document.addEventListener("visibilitychange", this.#turned);
    this.#connect();
    return this;
  }

  stop() {
    clearTimeout(this.#leaving);
    document.removeEventListener("visibilitychange", this.#turned);
    this.#disconnect();
  }

  #leave() {
    this.#left = Date.now() / 1000;
    this.#disconnect();
  }

  #return() {
    if (this.#left) this.#heard("event", { event: "unwatched", at: Date.now() / 1000, since: this.#left });
    this.#left = 0;
    this.#connect();
  }

  #connect() {
    if (this.#source || this.#left) return;
    const source = new EventSource(livePath(this.#label, this.#last));
    this.#source = source;
    for (const kind of ["look", "event", "log", "progress"]) {
      source.addEventListener(kind, ({ data, lastEventId }) => {
        this.#last = lastEventId;
        this.#heard(kind, JSON.parse(data));
      });
    }
    source.addEventListener("open", () => this.#lost(null));
    source.addEventListener("error", () => this.#failed(source));
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  async #failed(source) {
    try {
      await instances();
    } catch (error) {
      if (source === this.#source) this.#lost(error);
    }
    if (source !== this.#source || source.readyState !== EventSource.CLOSED) return;
    this.#disconnect();
    this.#timer = setTimeout(() => this.#connect(), AGAIN);
  }
}
