// What has happened: events since the page was opened, incidents, and who changed what (the audit log).

import { Answer, traceback } from "./asking.js";
import { fill, make } from "./element.js";
import { facts } from "./facts.js";
import { panel } from "./panel.js";
import { href } from "./places.js";
import { requestTable } from "./requests.js";
import { Table } from "./table.js";
import { clock, plain, span } from "./units.js";
import { sentence } from "./words.js";

const request = (one) => (one ? `${one.method} ${one.path}` : "a request");

/** An event in a sentence. */
export function told(event) {
  const { worker, why } = event;
  const because = why ? ` (${why})` : "";
  switch (event.event) {
    case "state":
      return `${event.was} → ${event.state}`;
    case "progress":
      return `stopping: ${event.phase}, ${event.in_flight} in flight, ${span(event.deadline_left)} left`;
    case "cut":
      return `cut at the deadline: ${request(event.request)}`;
    case "worker":
      return `worker ${worker} is ${event.state}${because}`;
    case "template":
      return `template is ${event.state}${because}`;
    case "scale":
      return `workers wanted: ${event.was} → ${event.wanted}${because}`;
    case "incident":
      return `worker ${event.incident.worker}: ${event.incident.kind}, ${event.incident.reason}`;
    case "slow":
      return `slow: ${request(event.request)}, ${span(event.request?.age)} already`;
    case "saturation":
      return event.saturated ? `saturated: ${event.rejected} requests rejected` : "no longer saturated";
    case "unwatched":
      return `not watched since ${clock(event.since)}, as this page was hidden; the history below has the changes`;
    case "lost":
      return `${event.count} events were left out: this page read too slowly`;
    default:
      return plain(event.event);
  }
}

/** Make rows of events, the newest first. */
export const eventRows = (seen) =>
  seen.map((one) => ({ ...one, text: told(one), incidentId: one.incident?.id })).reverse();

/** Make the table of events. */
export function eventTable(label, options = {}) {
  return new Table({
    caption: "Events",
    key: (row) => row.number,
    empty: "No event since this page was opened.",
    columns: [
      { field: "at", title: "At", write: clock },
      {
        field: "text",
        title: "Event",
        className: "wide widest",
        href: (row) => (row.incidentId ? href(label, "incident", row.incidentId) : null),
      },
    ],
    ...options,
  });
}

const by = ({ by: actor = {}, who, user }) => {
  const name =
    user ||
    (actor.key
      ? `key ${actor.key}`
      : actor.uid === null || actor.uid === undefined
        ? actor.via
        : `uid ${actor.uid}`);
  return who ? `${name}: ${brief(who)}` : plain(name);
};

/** A command line without the directories of its programs. */
const brief = (who) =>
  who
    .split(" ")
    .map((word, number) => (number < 2 && !word.startsWith("-") ? word.split("/").at(-1) : word))
    .join(" ");

function historyTable() {
  return new Table({
    caption: "History of changes",
    key: (row) => row.id,
    sort: "at",
    empty: "The audit log is empty.",
    columns: [
      { field: "at", title: "At", write: clock, numeric: true },
      { field: "command", title: "Command" },
      {
        field: "outcome",
        title: "Outcome",
        write: (outcome, row) => (row.error ? `${outcome}: ${row.error}` : plain(outcome)),
        className: "wide",
      },
      { field: "took", title: "Took", write: span, numeric: true, extra: true },
      { field: "role", title: "Role", extra: true },
      { field: "asked", title: "Asked by", extra: true },
    ],
  });
}

const written = ({ command, params = {} }) =>
  [
    command,
    ...Object.entries(params).map(
      ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    ),
  ].join(" ");

function incidentTable(label) {
  return new Table({
    caption: "Incidents",
    key: (row) => row.id,
    sort: "at",
    filter: false,
    empty: "No incident.",
    columns: [
      { field: "at", title: "At", write: clock, numeric: true },
      {
        field: "reason",
        title: "Incident",
        className: "wide widest",
        href: (row) => href(label, "incident", row.id),
        write: (reason, row) => `${row.kind}: ${reason}`,
      },
      { field: "worker", title: "Worker", write: (worker) => plain(worker || "template") },
    ],
  });
}

export function events(context) {
  const { label } = context;
  const [happened, incidents, history] = [eventTable(label), incidentTable(label), historyTable()];
  const asked = [
    new Answer(context, "incidents", {}, ({ incidents: rows }) => incidents.show(rows), { every: 10 }),
    new Answer(
      context,
      "history",
      { limit: 200 },
      ({ entries }) =>
        history.show(entries.map((one) => ({ ...one, command: written(one), asked: by(one) }))),
      { every: 10 },
    ),
  ];
  return {
    title: "Events",
    hears: ["look", "event"],
    element: make(
      "div",
      { class: "view" },
      panel("Live", { note: "Events since this page was opened." }, happened.element),
      panel("Incidents", { note: sentence("incident") }, asked[0].element, incidents.element),
      panel(
        "History",
        { note: "Who changed what, with the outcome, and what was refused." },
        asked[1].element,
        history.element,
      ),
    ),
    show: ({ events: seen, refused }) => happened.show(eventRows(seen), refused.events),
    close: () => asked.forEach((each) => each.close()),
  };
}

/** One incident; its argument is its id. */
export function incident(context) {
  const {
    rest: [id],
  } = context;
  const answer = new Answer(
    context,
    "incidents",
    { id: Number(id) },
    ({ incidents: [one] = [] }, content) => {
      if (!one) return fill(content, make("p", {}, "There is no such incident any more."));
      const table = requestTable(context, { filter: false });
      table.show(one.requests, "None that is known.");
      fill(
        content,
        panel(
          "Incident",
          {},
          facts([
            ["Kind", one.kind],
            ["Reason", one.reason],
            ["At", clock(one.at)],
            ["Worker", one.worker || "template"],
            ["PID", one.pid],
            ["Further connections lost", one.unnamed],
          ]),
        ),
        panel("Its requests", { note: "As they were at that time." }, table.element),
        one.stacks
          ? panel(
              "Stacks",
              { note: "Of all threads, before it was killed." },
              traceback(one.stacks, "Stacks"),
            )
          : null,
        one.traceback ? panel("Traceback", {}, traceback(one.traceback)) : null,
      );
    },
  );
  return { title: `Incident ${id}`, element: answer.element, show: () => {}, close: () => answer.close() };
}
