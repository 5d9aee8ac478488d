// A panel: a titled part of a view.

import { make } from "./element.js";

/** Make a panel; `note` explains it, `more` is a link {text, href} beside the title. A view of one panel has its title. */
export function panel(title, { note = "", more = null } = {}, ...content) {
  return make(
    "section",
    { class: "panel" },
    title
      ? make(
          "div",
          { class: "panel-head" },
          make("h3", {}, title),
          more ? make("a", { href: more.href }, more.text) : null,
        )
      : null,
    note ? make("p", { class: "note" }, note) : null,
    content,
  );
}
