// Views that show the table of one command: slow requests, and routes.

import { Answer } from "./asking.js";
import { panel } from "./panel.js";
import { href } from "./places.js";
import { Table } from "./table.js";
import { clock, count, fine, plain, span, whole } from "./units.js";

function listing(context, { title, note, method, params = {}, rows, table, every = 0 }) {
  const answer = new Answer(context, method, params, (result) => table.show(rows(result)), { every });
  return {
    title,
    element: panel("", { note }, answer.element, table.element),
    show: () => {},
    close: () => answer.close(),
  };
}

const endpointColumn = (label) => ({
  field: "endpoint",
  title: "Endpoint",
  href: (row) => (row.endpoint ? href(label, "endpoint", row.endpoint) : null),
});

export function slow(context) {
  return listing(context, {
    title: "Slow requests",
    note: "The slowest requests that ended within the last hour.",
    method: "slow",
    params: { limit: 100 },
    every: 10,
    rows: ({ requests }) => requests.map((one) => ({ ...one, request: `${one.method} ${one.path}` })),
    table: new Table({
      caption: "Slow requests",
      key: (row) => `${row.worker}/${row.id}/${row.at}`,
      sort: "seconds",
      empty: "No request has ended within the last hour.",
      columns: [
        { field: "request", title: "Request", className: "wide" },
        {
          field: "seconds",
          title: "Took",
          explained: "Time to the last byte of the response",
          write: span,
          numeric: true,
        },
        { field: "status", title: "Status", numeric: true },
        { ...endpointColumn(context.label), extra: true },
        { field: "at", title: "Ended", write: clock, numeric: true },
        { field: "worker", title: "Worker", write: (worker) => plain(worker || "-"), extra: true },
        {
          field: "request_id",
          title: "X-Request-ID",
          href: (row) => href(context.label, "log", row.request_id),
          extra: true,
        },
      ],
    }),
  });
}

export function routes(context) {
  return listing(context, {
    title: "Routes",
    note: "The rules of the application’s URL map, in the order in which they are matched.",
    method: "routes",
    rows: ({ routes: rows, missing }) => {
      const listed = rows.map((one, number) => ({ ...one, number, methods: one.methods.join(" ") }));
      return missing
        ? [...listed, { number: rows.length, rule: `… and ${count(missing, "more route")}` }]
        : listed;
    },
    table: new Table({
      caption: "Routes",
      key: (row) => row.number,
      empty: "The application has no routes.",
      most: 1000,
      columns: [
        { field: "rule", title: "Rule", className: "wide" },
        {
          field: "methods",
          title: "Methods",
          write: (methods, row) => (row.websocket ? `${plain(methods)} (WebSocket)` : plain(methods)),
          extra: true,
        },
        endpointColumn(context.label),
        {
          field: "calls",
          title: "Calls",
          explained: "Requests since the start",
          write: whole,
          numeric: true,
        },
        {
          field: "p95",
          title: "p95",
          explained: "95 % of the requests since the start took no longer",
          write: fine,
          numeric: true,
          spare: true,
        },
        { field: "host", title: "Host", extra: true },
      ],
    }),
  });
}
