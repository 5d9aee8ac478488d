// A flame graph: each call is a box as wide as its share of the samples, below the call that made it. Click or Enter zooms.

import { fill, make, setText } from "./element.js";
import { split } from "./collapsed.js";
import { count } from "./units.js";

const ROW = 22; // pixels; flames.css has the height of a box, and a gap
const NARROWEST = 0.0015; // of the width: what is narrower is not drawn
const LEGIBLE = 22; // pixels; a narrower box has no text
const HUES = 6;

export class FlameGraph {
  #root = null;
  #zoomed = null;
  #wanted = "";
  #width = 0; // pixels
  #boxes = new Map(); // Call -> box
  #current = null; // the call that Tab reaches
  #area = make("div", {
    class: "flames",
    role: "group",
    "aria-label": "Flame graph. Arrow keys move among the calls, Enter zooms into one, Escape shows all.",
    keydown: (event) => this.#key(event),
    focusin: ({ target }) => this.#look(target.call),
    pointerover: ({ target }) => target.call && this.#look(target.call, { move: false }),
  });
  #detail = make("p", { class: "detail" });
  #found = make("span", { class: "note", role: "status" });
  #out = make("button", { type: "button", disabled: true, click: () => this.#zoom(this.#root) }, "Show all");
  element;

  constructor() {
    const field = make("input", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Mark the calls whose name contains a text",
      spellcheck: "false",
      autocomplete: "off",
    });
    field.addEventListener("input", () => this.#search(field.value));
    this.element = make(
      "div",
      { class: "flame-graph" },
      make("div", { class: "filter" }, field, this.#out, this.#found),
      this.#detail,
      make("div", { class: "scroll flames-frame" }, this.#area),
    );
  }

  /** Draw the tree of `collapsed.treeOf`, once it is on the page, and again when there is more or less room. */
  show(root) {
    this.#root = root;
    this.#zoom(root);
    new ResizeObserver(([{ contentRect }]) => this.#fit(contentRect.width)).observe(this.#area);
  }

  #fit(width) {
    if (Math.abs(width - this.#width) < 1) return; // its own height has changed
    this.#width = width;
    this.#zoom(this.#zoomed);
  }

  #zoom(call) {
    const hadFocus = this.#area.contains(document.activeElement);
    this.#zoomed = call;
    this.#out.disabled = call === this.#root;
    this.#boxes.clear();
    let deepest = 0;
    const place = (one, left, width) => {
      if (width < NARROWEST) return;
      deepest = Math.max(deepest, one.depth);
      this.#boxes.set(one, this.#box(one, left, width));
      let at = left;
      for (const each of one.largest) {
        const share = (width * each.total) / one.total;
        place(each, at, share);
        at += share;
      }
    };
    for (let above = call.parent; above; above = above.parent)
      this.#boxes.set(above, this.#box(above, 0, 1, "above"));
    place(call, 0, 1);
    fill(this.#area, [...this.#boxes.values()]);
    this.#area.style.height = `${(deepest + 1) * ROW}px`;
    this.#look(call);
    this.#search(this.#wanted);
    if (hadFocus) this.#boxes.get(call).focus();
  }

  #box(call, left, width, kind = "") {
    const box = make(
      "button",
      {
        type: "button",
        class: `flame hue-${call.parent ? hue(call.name) : "all"} ${kind}`,
        tabindex: "-1",
        "aria-label": `${call.name}, ${this.#share(call)}`,
        click: () => this.#zoom(call),
      },
      width * this.#width < LEGIBLE ? "" : call.function,
    );
    box.call = call;
    box.style.left = `${100 * left}%`;
    box.style.width = `${100 * width}%`;
    box.style.top = `${call.depth * ROW}px`;
    return box;
  }

  #share(call) {
    return `${count(call.total, "sample")}, ${((100 * call.total) / this.#root.total).toFixed(1)} %`;
  }

  #look(call, { move = true } = {}) {
    if (!call) return;
    setText(this.#detail, `${call.name}: ${this.#share(call)}`);
    if (!move) return;
    this.#boxes.get(this.#current)?.setAttribute("tabindex", "-1");
    this.#boxes.get(call)?.setAttribute("tabindex", "0");
    this.#current = call;
  }

  #key(event) {
    const move = {
      ArrowDown: below,
      ArrowUp: above,
      ArrowLeft: beside(-1),
      ArrowRight: beside(1),
      Home: () => this.#root,
    }[event.key];
    if (event.key === "Escape") this.#zoom(this.#root);
    else if (move) this.#boxes.get(move(this.#current, this.#boxes))?.focus();
    else return;
    event.preventDefault();
  }

  #search(text) {
    this.#wanted = text.trim().toLowerCase();
    const matches = (call) => this.#wanted !== "" && call.name.toLowerCase().includes(this.#wanted);
    for (const [call, box] of this.#boxes) box.classList.toggle("found", matches(call));
    this.#area.classList.toggle("searched", this.#wanted !== "");
    const samples = (call) =>
      matches(call) ? call.total : [...call.calls.values()].reduce((sum, each) => sum + samples(each), 0);
    const share = this.#root && this.#wanted ? (100 * samples(this.#root)) / this.#root.total : null;
    setText(this.#found, share === null ? "" : `${share.toFixed(1)} % of the samples are in such calls`);
  }
}

const above = (call) => call.parent;

const below = (call, boxes) => call.largest.find((each) => boxes.has(each));

const beside = (step) => (call, boxes) => {
  const row = [...boxes.keys()].filter(({ depth }) => depth === call.depth);
  return row[row.indexOf(call) + step];
};

/** One of some colours, the same for all functions of a file. */
function hue(name) {
  const file = split(name)[1].replace(/:\d+$/, "") || name;
  let sum = 0;
  for (const character of file) sum = (31 * sum + character.charCodeAt(0)) >>> 0;
  return sum % HUES;
}
