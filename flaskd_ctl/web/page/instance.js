// What is known of one instance: the page's copy of what the server sees.

const KEPT = 500;

export class Instance extends EventTarget {
  label;
  answers = {};
  refused = {};
  away = "";
  state = "";
  role = "";
  may = new Set();
  rate = null; // requests per second now
  errorsPerSecond = null;
  cpu = {}; // percent, by worker
  changes = []; // what may be offered now
  events = [];
  log = [];
  asked = false; // whether anything has been heard
  #numbers = 0;

  constructor(label) {
    super();
    this.label = label;
  }

  get status() {
    return this.answers.status || {};
  }

  get stats() {
    return this.answers.stats || {};
  }

  get requests() {
    return this.answers.requests?.requests || [];
  }

  get errors() {
    return this.answers.errors?.errors || [];
  }

  get lastMinute() {
    return this.stats.total?.minute || {};
  }

  /** Take what came on the live stream. */
  hear(kind, data) {
    if (kind === "look") this.#look(data);
    else if (kind === "event") this.#keep(this.events, [data]);
    else if (kind === "log") this.#lines(data);
    this.dispatchEvent(new CustomEvent(kind, { detail: data }));
  }

  #look(data) {
    this.asked = true;
    this.answers = data.answers || {};
    this.refused = data.refused || {};
    this.away = data.away || "";
    this.state = data.state || "unknown";
    this.role = data.role || "";
    this.may = new Set(data.may || []);
    this.rate = data.away ? null : ((data.rates || []).at(-1) ?? null);
    this.errorsPerSecond = data.errors_per_second ?? null;
    this.cpu = data.cpu || {};
    this.changes = data.changes || [];
  }

  #lines({ lines = [], anew = false }) {
    if (anew) this.log.length = 0;
    this.#keep(this.log, lines);
  }

  /** Number what is new, and keep the newest. */
  #keep(list, added) {
    for (const one of added) list.push({ ...one, number: this.#numbers++ });
    list.splice(0, Math.max(0, list.length - KEPT));
  }
}
