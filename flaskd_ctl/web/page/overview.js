// The overview: numbers at a glance, charts of the last hour, and the beginning of each list.

import { Charts } from "./charts.js";
import { fill, make, setAttribute, setText } from "./element.js";
import { endpointRows, endpointTable } from "./endpoints.js";
import { errorRows, errorTable } from "./errors.js";
import { eventRows, eventTable } from "./events.js";
import { facts, showFacts } from "./facts.js";
import { panel } from "./panel.js";
import { href } from "./places.js";
import { requestTable } from "./requests.js";
import { attention, statusFacts } from "./status.js";
import { fine, mebibytes, percent, plain, rate, whole } from "./units.js";
import { WORDS, explained } from "./words.js";

const TOP = 5;

const sum = (rows, field) => {
  const known = rows.map((row) => row[field]).filter((value) => typeof value === "number");
  return known.length ? known.reduce((one, other) => one + other, 0) : null;
};

const serving = ({ workers = [] }) => workers.filter(({ state }) => state === "serving").length;

const waiting = ({ status, stats }) => status.queued ?? stats.queue?.waiting ?? null;

const full = ({ stats }) => stats.threads > 0 && stats.in_flight >= stats.threads;

/** The tiles: a word, its value, what stands below it, and whether it is bad. */
const TILES = [
  ["rate", ({ rate: now }) => rate(now), () => "per second"],
  [
    "errors",
    ({ errorsPerSecond }) => rate(errorsPerSecond),
    () => "per second",
    ({ errorsPerSecond }) => errorsPerSecond > 0,
  ],
  ["p50", ({ lastMinute }) => fine(lastMinute.p50), () => "last minute"],
  ["p95", ({ lastMinute }) => fine(lastMinute.p95), () => "last minute"],
  ["p99", ({ lastMinute }) => fine(lastMinute.p99), () => "last minute"],
  [
    "queue",
    (seen) => whole(waiting(seen)),
    () => "requests",
    (seen) => seen.status.saturated || (waiting(seen) > 0 && full(seen)),
  ],
  ["busy", ({ stats }) => plain(stats.in_flight), ({ stats }) => `of ${plain(stats.threads)} threads`, full],
  [
    "workers",
    ({ status }) => (status.wanted_workers ? String(serving(status)) : "1"),
    ({ status }) => (status.wanted_workers ? `of ${status.wanted_workers} serve` : "process"),
    ({ status }) => serving(status) < (status.wanted_workers || 0),
  ],
  [
    "cpu",
    ({ cpu }) =>
      percent(
        sum(
          Object.values(cpu).map((used) => ({ used })),
          "used",
        ),
      ),
    () => "of one core",
  ],
  [
    "memory",
    ({ stats }) => mebibytes(sum(stats.workers || [], "pss") ?? sum(stats.workers || [], "rss")),
    () => "MiB",
  ],
];

function tile(label, [word, value, below, bad]) {
  const shown = make("dd", { class: "number" });
  const note = make("dd", { class: "note" });
  const element = make(
    "div",
    { class: "tile", "data-word": word },
    make("dt", {}, make("a", { href: href(label, "help", word), title: explained(word) }, WORDS[word][0])),
    shown,
    note,
  );
  const show = (instance) => {
    setText(shown, value(instance));
    setText(note, below(instance));
    setAttribute(element, "class", bad?.(instance) ? "tile alert" : "tile");
  };
  return { element, show };
}

export function overview(context) {
  const { label } = context;
  const tiles = TILES.map((each) => tile(label, each));
  const charts = new Charts(context);
  const wants = make("ul", { class: "wants", hidden: true });
  const known = facts([]);
  const short = { filter: false, most: TOP };
  const [slowest, oldest, newest, latest] = [
    endpointTable(label, short),
    requestTable(context, short),
    errorTable(label, short),
    eventTable(label, short),
  ];
  const more = (view, text) => ({ more: { href: href(label, view), text } });
  return {
    title: "Overview",
    hears: ["look", "event"],
    element: make(
      "div",
      { class: "view" },
      wants,
      make(
        "dl",
        { class: "tiles" },
        tiles.map(({ element }) => element),
      ),
      charts.element,
      make(
        "div",
        { class: "lists" },
        panel("Slowest endpoints", more("endpoints", "All endpoints"), slowest.element),
        panel("Oldest requests in flight", more("requests", "All requests"), oldest.element),
        panel("Newest errors", more("errors", "All errors"), newest.element),
        panel("Newest events", more("events", "All events"), latest.element),
      ),
      panel("Instance", {}, known),
    ),
    show: (instance) => {
      for (const { show } of tiles) show(instance);
      const sentences = attention(instance);
      wants.hidden = !sentences.length;
      if (wants.dataset.shown !== sentences.join("\n"))
        fill(
          wants,
          sentences.map((sentence) => make("li", {}, sentence)),
        );
      wants.dataset.shown = sentences.join("\n");
      showFacts(known, statusFacts(instance.status));
      const { refused } = instance;
      slowest.show(endpointRows(instance.stats), refused.stats);
      oldest.show(instance.requests, refused.requests);
      newest.show(errorRows(instance.errors), refused.errors);
      latest.show(eventRows(instance.events), refused.events);
    },
    close: () => charts.close(),
  };
}
