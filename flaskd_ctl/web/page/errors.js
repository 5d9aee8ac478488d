// The errors of the application by kind, and one of them with its traceback.

import { Answer, traceback } from "./asking.js";
import { fill, make } from "./element.js";
import { facts } from "./facts.js";
import { panel } from "./panel.js";
import { href } from "./places.js";
import { Table } from "./table.js";
import { clock, count, whole } from "./units.js";

const what = ({ exception, message, status }) => {
  if (!exception) return `status ${status}`;
  return message ? `${exception}: ${message.split("\n")[0]}` : exception;
};

const LONGEST = 120; // characters of a message in the table

const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text);

export function errorRows(errors) {
  return errors.map((one) => ({
    ...one,
    error: cut(what(one)),
    place: one.file ? `${one.file.split("/").at(-1)}:${one.line}` : one.endpoint,
    request: `${one.method} ${one.path}`,
  }));
}

/** Make the table of errors, the newest first. */
export function errorTable(label, options = {}) {
  return new Table({
    caption: "Errors",
    key: (row) => row.id,
    sort: "last",
    empty: "No error.",
    columns: [
      { field: "error", title: "Error", href: (row) => href(label, "error", row.id), className: "wide" },
      {
        field: "count",
        title: "Count",
        explained: "How many there were since the first",
        write: whole,
        numeric: true,
      },
      { field: "last", title: "Last", explained: "When the last one was", write: clock, numeric: true },
      {
        field: "place",
        title: "Place",
        explained: "The innermost line of the application’s own code",
        extra: true,
      },
      { field: "request", title: "Last request", extra: true },
    ],
    ...options,
  });
}

export function errors({ label }) {
  const table = errorTable(label);
  const dropped = make("p", { class: "note" });
  return {
    title: "Errors",
    element: panel(
      "",
      { note: "Errors of one type from one place are one row. Follow one to its traceback." },
      table.element,
      dropped,
    ),
    show: ({ errors: rows, answers, refused }) => {
      table.show(errorRows(rows), refused.errors);
      const number = answers.errors?.dropped;
      dropped.textContent = number ? `${count(number, "older kind")} of errors not kept.` : "";
    },
  };
}

/** One error; its argument is its id. */
export function error(context) {
  const {
    label,
    rest: [id],
  } = context;
  const answer = new Answer(context, "errors", { id }, ({ errors: [one] = [] }, content) => {
    if (!one) return fill(content, make("p", {}, "There is no such error any more."));
    fill(
      content,
      panel("Error", {}, facts(factsOf(one, label))),
      one.traceback
        ? panel("Traceback", { note: "Of the last one, the newest call last." }, traceback(one.traceback))
        : panel("Traceback", { note: "The response had this status without an exception." }),
    );
  });
  return { title: `Error ${id}`, element: answer.element, show: () => {}, close: () => answer.close() };
}

const factsOf = (one, label) => [
  ["Error", what(one)],
  ["Place", one.file ? `${one.file}:${one.line}, in ${one.function}` : `endpoint ${one.endpoint || "-"}`],
  ["Happened", count(one.count, "time")],
  ["First", clock(one.first)],
  ["Last", clock(one.last)],
  ["Last request", `${one.method} ${one.path}, answered ${one.status}`],
  ["Endpoint", one.endpoint ? { text: one.endpoint, href: href(label, "endpoint", one.endpoint) } : "-"],
  ["Worker", one.worker || null],
  [
    "X-Request-ID",
    one.request_id ? { text: one.request_id, href: href(label, "log", one.request_id) } : null,
  ],
];
