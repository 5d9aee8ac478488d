// The workers, and what is behind one of them: facts, requests, stacks.

import { Answer } from "./asking.js";
import { fill, make } from "./element.js";
import { facts, showFacts } from "./facts.js";
import { panel } from "./panel.js";
import { href } from "./places.js";
import { requestTable } from "./requests.js";
import { stacksOf } from "./stacks.js";
import { Table } from "./table.js";
import { count, fine, mebibytes, percent, plain, span, whole } from "./units.js";
import { explained, sentence, title } from "./words.js";

/** Join what `status` and `stats` say of each worker; an instance that is one process has one row. */
export function workerRows({ status, stats, cpu }) {
  const described = new Map((status.workers || []).map((one) => [one.id, one]));
  const counted = new Map((stats.workers || []).map((one) => [one.worker, one]));
  return [...new Set([...counted.keys(), ...described.keys()])].map((worker) => {
    const both = { ...described.get(worker), ...counted.get(worker) };
    return {
      worker,
      pid: both.pid,
      state: both.state,
      age: both.age,
      minute: both.minute?.requests,
      p95: both.minute?.p95,
      in_flight: both.in_flight,
      waiting: both.waiting,
      cpu: cpu[worker] ?? null,
      rss: both.rss,
      pss: both.pss,
      connections: both.connections,
      generation: both.generation,
      why: both.why,
    };
  });
}

const number = (field, text, meaning, write = whole, more = {}) => ({
  field,
  title: text,
  explained: meaning,
  write,
  numeric: true,
  ...more,
});

function workerTable({ label, instance, changes }) {
  return new Table({
    caption: "Workers",
    key: (row) => row.worker,
    sort: "worker",
    filter: false,
    empty: "No worker.",
    columns: [
      {
        field: "worker",
        title: "ID",
        write: (worker) => (worker ? `Worker ${worker}` : "Process"),
        href: (row) => href(label, "worker", row.worker),
      },
      { field: "state", title: "State" },
      number("in_flight", "Busy", "Requests in the application"),
      number("waiting", "Waiting", "Requests that wait for a free thread", whole, { extra: true }),
      number("minute", "Req/min", "Requests that finished in the last minute", whole, { spare: true }),
      number("p95", title("p95"), explained("p95"), fine, { spare: true }),
      number("cpu", "CPU", "CPU time in the last seconds, of one core", percent, { spare: true }),
      number("rss", "RSS MiB", explained("rss"), mebibytes, { extra: true }),
      number("pss", "PSS MiB", explained("pss"), mebibytes, { extra: true }),
      number("age", "Age", explained("age"), span, { extra: true }),
      number("connections", "Open", "Open HTTP connections", whole, { extra: true }),
      number("generation", "Gen.", explained("generation"), whole, { extra: true }),
      { field: "pid", title: "PID", extra: true },
      { field: "why", title: "Started for", extra: true },
      ...(instance.status.workers?.length ? changes.column("restart", instance) : []),
    ],
  });
}

export function workers(context) {
  const table = workerTable(context);
  const why = make("p", { class: "note" });
  return {
    title: "Workers",
    element: panel("", { note: "Follow a worker to the stacks of its threads." }, table.element, why),
    show: (instance) => {
      table.show(workerRows(instance), instance.refused.stats);
      const { scaling } = instance.status;
      why.textContent = scaling
        ? `Setting: ${scaling.setting}. ${scaling.why || ""} ${scaling.limited || ""}`.trim()
        : "";
    },
  };
}

/** One worker; its argument is its id, 0 if the instance is one process. */
export function worker(context) {
  const {
    instance,
    changes,
    rest: [id],
  } = context;
  const shown = facts([]);
  const threads = make("div");
  const table = requestTable(context, { filter: false });
  const stacks = new Answer(context, "stacks", id === "0" ? {} : { worker: Number(id) }, (result) =>
    fill(threads, stacksOf(result.workers)),
  );
  const restart = id === "0" ? null : changes.button("restart", instance, () => ({ worker: Number(id) }));
  const again = make("button", { type: "button", click: () => stacks.ask() }, "Look again");
  return {
    title: id === "0" ? "The process" : `Worker ${id}`,
    element: make(
      "div",
      { class: "view" },
      panel("Facts", {}, restart ? make("div", { class: "row" }, restart) : null, shown),
      panel("Requests in flight", { note: sentence("inFlight") }, table.element),
      panel(
        "Stacks",
        { note: sentence("stack") },
        make("div", { class: "row" }, again),
        stacks.element,
        threads,
      ),
    ),
    show: (seen) => {
      const row = workerRows(seen).find((one) => String(one.worker) === id);
      showFacts(shown, row ? factsOf(row) : [["State", "gone"]]);
      table.show(
        seen.requests.filter((one) => String(one.worker || 0) === id),
        seen.refused.requests,
      );
    },
    close: () => stacks.close(),
  };
}

const memory = (bytes) => (typeof bytes === "number" ? `${mebibytes(bytes)} MiB` : "-");

const factsOf = (row) => [
  ["State", row.state],
  ["PID", plain(row.pid)],
  ["Age", span(row.age), explained("age")],
  [
    "Busy",
    typeof row.in_flight === "number" ? count(row.in_flight, "request") : "-",
    "Requests in the application",
  ],
  ["CPU", percent(row.cpu), explained("cpu")],
  ["RSS", memory(row.rss), explained("rss")],
  ["PSS", memory(row.pss), explained("pss")],
  ["p95, last minute", fine(row.p95), explained("p95")],
  [title("generation"), row.generation, explained("generation")],
  ["Started for", row.why],
];
