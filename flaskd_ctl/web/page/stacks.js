// Stacks of threads: what the application does first, the server's own threads last and folded.

import { make } from "./element.js";
import { count, span } from "./units.js";

/** Make elements for the stacks of these workers; with `request`, only those that serve it. */
export function stacksOf(workers, { request = null } = {}) {
  return (workers || []).map((worker) => ofWorker(worker, request)).filter(Boolean);
}

function ofWorker(worker, request) {
  const who = worker.worker ? `Worker ${worker.worker} (pid ${worker.pid})` : `Process ${worker.pid ?? ""}`;
  if (worker.error) return section(who, make("p", { class: "bad" }, said(worker.error)));
  const stacks = (worker.stacks || []).filter((stack) => request === null || serves(stack, request));
  if (request !== null && !stacks.length) return null;
  const own = stacks.filter(({ kind }) => kind !== "server");
  const servers = stacks.filter(({ kind }) => kind === "server");
  return section(
    who,
    worker.note ? make("p", { class: "note" }, worker.note) : null,
    own.map(ofStack),
    own.length ? null : make("p", { class: "note" }, "No thread of the application."),
    servers.length
      ? make(
          "details",
          {},
          make(
            "summary",
            {},
            count(
              servers.reduce((sum, { threads }) => sum + threads.length, 0),
              "thread",
            ) + " of flaskd and the engine",
          ),
          servers.map(ofStack),
        )
      : null,
    worker.left_out
      ? make(
          "p",
          { class: "note" },
          `${count(worker.left_out, "thread")} left out: the reply would be too long.`,
        )
      : null,
  );
}

const section = (title, ...content) => make("section", { class: "stacks" }, make("h4", {}, title), content);

const serves = ({ threads }, { id }) => (threads || []).some((thread) => thread.request?.id === id);

const said = (error) => (typeof error === "string" ? error : error.message || JSON.stringify(error));

function ofStack(stack) {
  const frames = stack.frames || [];
  const shown = frames.slice(0, frames.length - (stack.server_frames || 0));
  const listed = shown.length ? shown : frames;
  const around = frames.length - listed.length;
  const rest = stack.missing
    ? "older calls left out"
    : around
      ? `${count(around, "call")} ${stack.kind === "request" ? "of the server around it" : "that started the thread"}`
      : "";
  return make(
    "div",
    { class: "stack" },
    (stack.threads || []).map((thread) => make("p", { class: "thread" }, titleOf(stack.kind, thread))),
    frames.length
      ? make("ol", { class: "frames" }, listed.map(ofFrame))
      : make("p", { class: "note" }, "No Python code."),
    rest ? make("p", { class: "note" }, `… ${rest}`) : null,
  );
}

function titleOf(kind, { id, name, request }) {
  const thread = name || `thread ${Number(id || 0).toString(16)}`;
  if (kind !== "request" || !request) return `${kind === "server" ? "" : "The application’s own: "}${thread}`;
  return `${request.method} ${request.path}: ${span(request.age)}, request ${request.id}, ${thread}`;
}

function ofFrame({ function: name, file, line, source }) {
  return make(
    "li",
    {},
    make("code", { class: "function" }, name),
    make("span", { class: "place" }, ` at ${file}:${line}`),
    source ? make("code", { class: "source" }, source) : null,
  );
}
