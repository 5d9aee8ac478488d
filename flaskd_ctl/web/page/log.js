// The end of the log, followed while one is at the end; and the lines of one request.

import { Answer } from "./asking.js";
import { fill, make, setText } from "./element.js";
import { panel } from "./panel.js";
import { clock, plain, sentences } from "./units.js";

const LEVELS = ["debug", "info", "warning", "error", "critical"];
const AT_END = 40; // pixels from the end that count as the end

const levelOf = (line) => line.level || "info"; // a printed line counts as info

/** The log; with a request's ID as argument, its lines. */
export const log = (context) => (context.rest[0] ? ofRequest(context) : tail());

function tail() {
  const list = make("ol", { class: "lines" });
  const box = boxed(list);
  const note = make("p", { class: "note" });
  const level = make(
    "select",
    { "aria-label": "Lowest level" },
    LEVELS.map((name) => make("option", { value: name }, `${name} and above`)),
  );
  const text = make("input", {
    type: "search",
    placeholder: "Filter",
    "aria-label": "Show only lines that contain a text",
    spellcheck: "false",
    autocomplete: "off",
  });
  const drawn = new Map(); // number -> element
  let seen = [];
  let why = "";

  const draw = () => {
    const wanted = text.value.trim().toLowerCase();
    const lowest = LEVELS.indexOf(level.value);
    const fits = (line) =>
      LEVELS.indexOf(levelOf(line)) >= lowest &&
      `${line.logger}: ${line.message}`.toLowerCase().includes(wanted);
    const kept = seen.filter(fits);
    const follows = box.scrollTop + box.clientHeight >= box.scrollHeight - AT_END;
    const numbers = new Set(kept.map(({ number }) => number));
    for (const [number, element] of drawn) {
      if (numbers.has(number)) continue;
      element.remove();
      drawn.delete(number);
    }
    let place = list.firstElementChild;
    for (const line of kept) {
      const element = drawn.get(line.number) || lineOf(line);
      drawn.set(line.number, element);
      if (element === place) place = place.nextElementSibling;
      else list.insertBefore(element, place);
    }
    setText(note, kept.length ? "" : sentences(why) || (seen.length ? "No line fits." : "No line yet."));
    box.hidden = !kept.length;
    if (follows) box.scrollTop = box.scrollHeight;
  };
  level.addEventListener("change", draw);
  text.addEventListener("input", draw);
  return {
    title: "Log",
    hears: ["look", "log"],
    element: panel(
      "",
      { note: "The lines of the supervisor and the workers, 500 at most, the newest last." },
      make("div", { class: "filter" }, level, text),
      box,
      note,
    ),
    show: (instance) => {
      seen = instance.log;
      why = instance.refused.logs || "";
      draw();
    },
  };
}

function ofRequest(context) {
  const [id] = context.rest;
  const answer = new Answer(context, "logs", { request: id, limit: 200 }, ({ lines }, content) =>
    fill(
      content,
      lines.length
        ? boxed(make("ol", { class: "lines" }, lines.map(lineOf)))
        : make("p", { class: "note" }, "No line of this request is kept."),
    ),
  );
  return {
    title: `Log of request ${id}`,
    element: panel("", { note: "The newest 200 lines with this X-Request-ID." }, answer.element),
    show: () => {},
    close: () => answer.close(),
  };
}

const boxed = (list) =>
  make("div", { class: "scroll log", role: "region", tabindex: "0", "aria-label": "Log" }, list);

function lineOf(line) {
  const worker =
    line.worker === null || line.worker === undefined
      ? line.process || "supervisor"
      : line.worker
        ? `worker ${line.worker}`
        : "";
  return make(
    "li",
    { class: `level-${levelOf(line)}` },
    make("span", { class: "when" }, clock(line.at)),
    make("span", { class: "level" }, plain(line.level || line.stream)),
    make("span", { class: "who" }, worker),
    make("div", { class: "text" }, messageOf(line)),
  );
}

/** A message; of one with many lines (a traceback) the others are folded. */
function messageOf({ logger, message }) {
  const [first, ...others] = (logger ? `${logger}: ${message}` : message).trimEnd().split("\n");
  return others.length ? make("details", {}, make("summary", {}, first), others.join("\n")) : first;
}
