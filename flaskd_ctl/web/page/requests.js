// The requests in flight, and what is behind one of them: who asked, and what its thread does.

import { Answer } from "./asking.js";
import { fill, make } from "./element.js";
import { facts, showFacts } from "./facts.js";
import { panel } from "./panel.js";
import { href } from "./places.js";
import { stacksOf } from "./stacks.js";
import { Table } from "./table.js";
import { plain, span } from "./units.js";
import { explained, sentence, title } from "./words.js";

/** Make the table of requests, the oldest first. */
export function requestTable({ label, instance, changes }, options = {}) {
  return new Table({
    caption: "Requests in flight",
    key: (row) => `${row.worker}/${row.id}`,
    sort: "age",
    empty: "No request in flight.",
    columns: [
      {
        field: "path",
        title: "Request",
        href: (row) => href(label, "request", row.worker || 0, row.id),
        write: (path, row) => `${row.method} ${path}`,
        className: "wide",
      },
      { field: "age", title: title("age"), explained: explained("age"), write: span, numeric: true },
      { field: "endpoint", title: "Endpoint", extra: true },
      { field: "worker", title: "Worker", write: (worker) => plain(worker || "-") },
      { field: "id", title: "ID", explained: "The number of the request in its worker", extra: true },
      { field: "client", title: "Client", extra: true },
      { field: "thread", title: "Thread", extra: true },
      ...(options.most ? [] : changes.column("cancel", instance)),
    ],
    ...options,
  });
}

export function requests(context) {
  const table = requestTable(context);
  return {
    title: "Requests in flight",
    element: panel("", { note: sentence("inFlight") }, table.element),
    show: ({ requests: rows, refused }) => table.show(rows, refused.requests),
  };
}

/** One request; its arguments are its worker (0 if the instance is one process) and its id. */
export function request(context) {
  const {
    label,
    instance,
    changes,
    rest: [worker, id],
  } = context;
  const find = (rows) =>
    (rows || []).find((one) => String(one.id) === id && String(one.worker || 0) === worker);
  const one = find(instance.requests);
  const shown = facts([]);
  const threads = make("div");
  const narrow = {
    stacks: true,
    ...(worker === "0" ? {} : { worker: Number(worker) }),
    ...(one ? { path: one.path } : {}),
  };
  const ended = make(
    "p",
    {},
    "This request has ended. ",
    make("a", { href: href(label, "slow") }, "Slow requests"),
    " or ",
    make("a", { href: href(label, "errors") }, "errors"),
    " may tell how.",
  );
  const stacks = new Answer(context, "requests", narrow, (result) => {
    const found = find(result.requests);
    fill(threads, found ? stacksOf(result.stacks, { request: found }) : ended);
  });
  const tools = make(
    "div",
    { class: "row" },
    make("button", { type: "button", click: () => stacks.ask() }, "Look again"),
    changes.button("cancel", instance, () => ({ worker: Number(worker), id: Number(id) })),
  );
  return {
    title: `Request ${id}${one ? `: ${one.method} ${one.path}` : ""}`,
    element: make(
      "div",
      { class: "view" },
      panel("Request", {}, tools, shown),
      panel("Stack", { note: sentence("stack") }, stacks.element, threads),
    ),
    show: ({ requests: rows }) => {
      const now = find(rows);
      showFacts(shown, now ? factsOf(now, label) : [["State", "has ended"]]);
    },
    close: () => stacks.close(),
  };
}

const factsOf = (one, label) => [
  ["Request", `${one.method} ${one.path}`],
  [title("age"), span(one.age), explained("age")],
  ["Endpoint", one.endpoint ? { text: one.endpoint, href: href(label, "endpoint", one.endpoint) } : "-"],
  ["Rule", one.rule],
  ["Worker", one.worker ? { text: String(one.worker), href: href(label, "worker", one.worker) } : null],
  ["Client", one.client],
  ["Thread", one.thread],
  [
    "X-Request-ID",
    one.request_id ? { text: one.request_id, href: href(label, "log", one.request_id) } : null,
  ],
];
