// The endpoints with their latencies, and what is behind one of them: numbers, charts, requests in flight, stacks.

import { Answer } from "./asking.js";
import { Charts } from "./charts.js";
import { fill, make } from "./element.js";
import { panel } from "./panel.js";
import { endpointTitle, href } from "./places.js";
import { requestTable } from "./requests.js";
import { stacksOf } from "./stacks.js";
import { Table } from "./table.js";
import { fine, whole } from "./units.js";
import { explained, sentence, title } from "./words.js";

const WINDOWS = {
  minute: "Last minute",
  five_minutes: "Last 5 min",
  hour: "Last hour",
  start: "Since the start",
};

/** Make rows of the endpoints of `stats`. */
export function endpointRows({ endpoints = [] }) {
  return endpoints.map((one) => ({
    name: one.endpoint,
    endpoint: endpointTitle(one.endpoint),
    rule: one.rule,
    minute: one.minute?.requests,
    errors: one.minute?.errors,
    p50: one.minute?.p50,
    p95: one.minute?.p95,
    p99: one.minute?.p99,
    requests: one.start?.requests,
    seconds: one.seconds,
  }));
}

/** Make the table of endpoints, the highest p99 of the last minute first. */
export function endpointTable(label, options = {}) {
  const percentile = (name) => ({
    field: name,
    title: title(name),
    explained: explained(name),
    write: fine,
    numeric: true,
  });
  return new Table({
    caption: "Endpoints, last minute",
    key: (row) => row.endpoint,
    sort: "p99",
    empty: "No request has ended.",
    columns: [
      {
        field: "endpoint",
        title: "Endpoint",
        href: (row) => href(label, "endpoint", row.endpoint),
        className: "wide",
      },
      percentile("p99"),
      percentile("p95"),
      { ...percentile("p50"), spare: true },
      {
        field: "minute",
        title: "Req/min",
        explained: "Requests that finished in the last minute",
        write: whole,
        numeric: true,
        spare: true,
      },
      {
        field: "errors",
        title: "Err/min",
        explained: "Errors in the last minute",
        write: whole,
        numeric: true,
        extra: true,
      },
      {
        field: "requests",
        title: "All",
        explained: "Requests since the start",
        write: whole,
        numeric: true,
        extra: true,
      },
      {
        field: "seconds",
        title: "Time",
        explained: "Time that all requests took together",
        write: fine,
        numeric: true,
        extra: true,
      },
      { field: "rule", title: "Rule", explained: "The URL rule of the endpoint", extra: true },
    ],
    ...options,
  });
}

export function endpoints({ label }) {
  const table = endpointTable(label);
  return {
    title: "Endpoints",
    element: panel(
      "",
      { note: "Of the last minute, sorted by p99 at first. Follow an endpoint to its requests and stacks." },
      table.element,
    ),
    show: ({ stats, refused }) => table.show(endpointRows(stats), refused.stats),
  };
}

/** One endpoint; its argument is its name, as it is shown. */
export function endpoint(context) {
  const {
    label,
    rest: [name],
  } = context;
  const charts = new Charts(context, { endpoint: name });
  const named = name !== "(no route)" && name !== "(others)";
  const numbers = new Answer(
    context,
    "stats",
    { endpoint: name },
    (result, content) => fill(content, windows(result)),
    { every: 10 },
  );
  const closing = [charts, numbers];
  const flight = make("div", { class: "view" });
  if (named) {
    const table = requestTable(context, { filter: false });
    const threads = make("div");
    const asked = new Answer(context, "requests", { endpoint: name, stacks: true }, (result) => {
      table.show(result.requests);
      fill(
        threads,
        result.requests.length
          ? stacksOf(result.stacks)
          : make("p", { class: "note" }, "No request in flight."),
      );
    });
    closing.push(asked);
    const again = make("button", { type: "button", click: () => asked.ask() }, "Look again");
    fill(
      flight,
      panel(
        "Requests in flight",
        { note: "As they were at the last look." },
        make("div", { class: "row" }, again),
        asked.element,
        table.element,
      ),
      panel(
        "Stacks of these requests",
        { note: `${sentence("stack")} Where many are at the same line, they wait there.` },
        threads,
      ),
    );
  }
  return {
    title: `Endpoint ${name}`,
    element: make(
      "div",
      { class: "view" },
      make(
        "p",
        { class: "links" },
        named ? make("a", { href: href(label, "profile", name) }, "Profile this endpoint") : null,
      ),
      flight,
      panel("Numbers", { note: sentence("latency") }, numbers.element),
      charts.element,
    ),
    show: () => {},
    close: () => closing.forEach((each) => each.close()),
  };
}

function windows({ endpoints: [one] = [] }) {
  if (!one) return make("p", { class: "note" }, "No request has ended.");
  const heads = ["", "Requests", "Errors", "p50", "p95", "p99"];
  return make(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": "Numbers of the endpoint" },
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          heads.map((head) => (head ? make("th", { scope: "col", class: "numeric" }, head) : make("td", {}))),
        ),
      ),
      make(
        "tbody",
        {},
        Object.entries(WINDOWS).map(([window, text]) => {
          const { requests, errors, p50, p95, p99 } = one[window] || {};
          const cells = [whole(requests), whole(errors), fine(p50), fine(p95), fine(p99)];
          return make(
            "tr",
            {},
            make("th", { scope: "row" }, text),
            cells.map((cell) => make("td", { class: "numeric" }, cell)),
          );
        }),
      ),
    ),
  );
}
