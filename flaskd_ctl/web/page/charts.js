// The charts of the last hour: rate, latency and time in the queue.

import { Answer } from "./asking.js";
import { Chart } from "./chart.js";
import { make } from "./element.js";
import { fine, rate } from "./units.js";
import { sentence } from "./words.js";

const STEP = 30; // seconds of a point, and between two looks
const FINE_STEP = 10; // of an instance that runs for less than
const YOUNG = 600; // seconds
const OLD_STEP = 300; // of an instance that knows no other
const HOUR = 3600;
const SHORTEST = 120; // seconds that a chart shows at least

const NONE = { requests: 0, errors: 0 };

const latency = (name) => (point) => point.latency[name] ?? null;
const queue = (name) => (point) => point.queue?.[name] ?? null;

/** The charts of an instance, or with `endpoint` of one endpoint; `element` has them, `close` ends them. */
export class Charts {
  #charts;
  #answer;
  #instance;
  element;

  constructor(context, { endpoint = null } = {}) {
    this.#instance = context.instance;
    const perSecond = (field) => (point) => point.latency[field] / point.seconds;
    const rates = new Chart({
      title: "Rate",
      unit: "requests per second",
      explained: "Finished requests per second, and errors among them.",
      lines: [
        { name: "a", title: "requests/s", value: perSecond("requests") },
        { name: "bad", title: "errors/s", value: perSecond("errors") },
      ],
      write: rate,
      tick: (value) => String(Number(value.toPrecision(3))),
    });
    const latencies = new Chart({
      title: "Latency",
      unit: "time",
      explained: sentence("latency"),
      lines: ["p50", "p95", "p99"].map((name, number) => ({
        name: "abc"[number],
        title: name,
        value: latency(name),
      })),
      write: fine,
    });
    const queues = new Chart({
      title: "Time in the queue",
      unit: "time",
      explained: "Time that requests waited for a free thread.",
      lines: ["p50", "p95", "p99"].map((name, number) => ({
        name: "abc"[number],
        title: name,
        value: queue(name),
      })),
      write: fine,
    });
    this.#charts = endpoint === null ? [rates, latencies, queues] : [rates, latencies];
    const charts = make(
      "div",
      { class: "charts" },
      this.#charts.map((chart) => chart.element),
    );
    const step = () => (this.#instance.status.uptime < YOUNG ? FINE_STEP : STEP);
    const params = () => ({ ...(endpoint === null ? { limit: 1 } : { endpoint }), step: step() });
    this.#answer = new Answer(
      context,
      "stats",
      params,
      (result) => {
        charts.hidden = false;
        this.#show(result);
      },
      {
        every: step,
        without: "step",
        refused: () => {
          charts.hidden = true;
        },
      },
    );
    this.element = make("div", {}, this.#answer.element, charts);
  }

  close() {
    this.#answer.close();
    for (const chart of this.#charts) chart.close();
  }

  #show({ history = [], step = OLD_STEP }) {
    const now = Date.now() / 1000;
    const age = Math.min(HOUR, this.#instance.status.uptime ?? HOUR);
    const points = whole(history, { step, began: now - age, now });
    for (const chart of this.#charts)
      chart.show(points, step, { from: now - Math.max(age, SHORTEST), until: now });
  }
}

/** Fill in the steps without a request, from `began` to `now`: their rate is 0. The first step and the last are shorter. */
function whole(history, { step, began, now }) {
  if (!history.length) return [];
  const number = (at) => Math.round((at - history[0].at) / step);
  const known = new Map(history.map((point) => [number(point.at), point]));
  const points = [];
  for (let each = Math.min(0, Math.ceil((began - history[0].at) / step)); ; each++) {
    const at = history[0].at + each * step;
    if (at >= now && !known.has(each)) return points;
    const seconds = Math.max(1, Math.min(at + step, now) - Math.max(at, began));
    points.push({ at, seconds, latency: NONE, queue: null, ...known.get(each) });
  }
}
