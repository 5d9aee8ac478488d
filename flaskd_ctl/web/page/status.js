// What `status` says of the instance as a whole: facts, and what wants attention.

import { clock, count, mebibytes, plain, span, whole } from "./units.js";

const actor = (by) => by.key || (typeof by.uid === "number" ? `uid ${by.uid}` : by.detail || by.via);

/** What somebody should look at, in sentences; none if all is well. */
export function attention({ state, status }) {
  const { last_failure: failure, scaling, versions = {}, installed_flaskd: installed } = status;
  const found = [];
  if (state === "degraded" && failure)
    found.push(`Workers keep failing: ${failure.reason}. Events has the incidents.`);
  if (status.saturated) found.push("Many requests are answered 503, because they waited too long.");
  if (scaling?.limited) found.push(`The load needs more workers: ${scaling.limited}.`);
  if (installed === null && versions.flaskd)
    found.push("flaskd is not completely installed: install it again.");
  if (installed && versions.flaskd && installed !== versions.flaskd)
    found.push(`flaskd ${installed} is installed: restart the instance to use it.`);
  return found;
}

/** The facts as [name, value, explained]; what an instance does not know is left out. */
export function statusFacts(status) {
  const { versions = {}, served = {}, probes = {}, last_failure: failure, requested_by: by } = status;
  const counts = Object.entries(served).filter(([, number]) => number);
  const all = counts.reduce((sum, [, number]) => sum + number, 0);
  return [
    ["Application", status.app],
    ["Serves", (status.listeners || []).join(", ")],
    ...Object.entries(probes).map(([name, address]) => [`Probe: ${name}`, address]),
    ["PID", status.pid],
    ["State since", clock(status.since)],
    ["Asked for by", by ? `${actor(by)}, ${clock(status.requested_at)}` : null],
    [
      "Served",
      `${whole(all)}${all ? ` (${counts.map(([kind, number]) => `${number} ${kind}`).join(", ")})` : ""}`,
    ],
    [
      "Rejected",
      status.rejected ? count(status.rejected, "request") : null,
      "Answered 503 after --max-queue-time",
    ],
    ["Connections", `${plain(status.connections)} open`],
    ["Generation", status.generation || null, "The number of reloads, beginning with 1"],
    ["Workers", status.scaling ? scalingText(status.scaling) : null],
    ["Unexpected ends", status.workers?.length ? status.restarts : null, "Workers that exited unexpectedly"],
    ["Last failure", failure ? `${clock(failure.at)}: ${failure.reason}` : null],
    ...(status.templates || []).map((one) => ["Template", templateText(one), "Workers are forked from it"]),
    ["Engine", status.engine_why ? `${status.engine}: ${status.engine_why}` : status.engine],
    [
      "Versions",
      Object.entries(versions)
        .map((each) => each.join(" "))
        .join(", "),
    ],
  ];
}

function scalingText({ setting, why, scaled, until }) {
  const set =
    scaled === null || scaled === undefined
      ? ""
      : `, set to ${scaled}${until ? ` until ${clock(until)}` : ""}`;
  return `setting ${setting}${set}${why ? `: ${why}` : ""}`;
}

const templateText = ({ pid, state, age, rss }) =>
  `pid ${pid}, ${state} for ${span(age)}, ${mebibytes(rss)} MiB`;
