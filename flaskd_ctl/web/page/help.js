// What the numbers mean, and how to use the page without a mouse.

import { make } from "./element.js";
import { panel } from "./panel.js";
import { WORDS } from "./words.js";

export function help({ rest: [word] }) {
  const terms = Object.entries(WORDS).map(([name, [title, unit, sentence, page]]) =>
    make(
      "div",
      { id: `word-${name}`, class: name === word ? "chosen" : null },
      make("dt", { tabindex: "-1" }, unit ? `${title} (${unit})` : title),
      make("dd", {}, sentence, make("span", { class: "note" }, ` Documentation: ${page}.`)),
    ),
  );
  const element = make(
    "div",
    { class: "view" },
    panel("What the numbers mean", {}, make("dl", { class: "words" }, terms)),
    panel(
      "Keyboard",
      {},
      make(
        "ul",
        { class: "plain" },
        make(
          "li",
          {},
          "Tab and Shift+Tab go through links, buttons, and boxes that scroll; arrow keys scroll a box.",
        ),
        make("li", {}, "The first Tab offers to skip to the content."),
        make(
          "li",
          {},
          "In a flame graph, arrow keys move among the calls, Enter zooms into one, Escape shows all.",
        ),
        make("li", {}, "In a question, Escape means no."),
      ),
    ),
    panel(
      "In a terminal",
      {},
      make(
        "p",
        {},
        "flaskd_ctl top shows the same in a terminal. flaskd_ctl has all of it with --json: status, stats, requests, ",
        "errors, slow, routes, events, history, incidents, logs, stacks, profile.",
      ),
    ),
  );
  return {
    title: "Help",
    element,
    show: () => {},
    focus: () => element.querySelector(".chosen dt"),
  };
}
