// A chart of the last hour: lines over time, with axes, a legend that shows the values under the pointer, and a table.

import { fill, make, makeSvg, setText } from "./element.js";
import { clock, minutes } from "./units.js";

const HEIGHT = 170;
const MARGIN = { top: 10, right: 12, bottom: 24, left: 56 };
const HOUR = 3600;
const EVERY = [60, 120, 300, 600, 900, 1200]; // seconds between two labels of the axis

export class Chart {
  #lines;
  #write;
  #tick;
  #points = [];
  #step = 60;
  #from = 0;
  #until = 0;
  #svg;
  #values;
  #rows = make("tbody");
  #note = make("p", { class: "note" });
  #sizes;
  element;

  /** `lines` are {name, title, value(point)}, `write` makes text of a value, `tick` of one at the axis; `unit` is theirs. */
  constructor({ title, explained, unit, lines, write, tick = write }) {
    this.#lines = lines;
    this.#write = write;
    this.#tick = tick;
    this.#values = lines.map(() => make("span", { class: "value" }, "-"));
    this.#svg = makeSvg("svg", { role: "img", class: "chart", height: HEIGHT });
    this.#svg.addEventListener("pointermove", (event) => this.#pointed(event));
    this.#svg.addEventListener("pointerleave", () => this.#legend(null));
    const legend = lines.map(({ name, title: text }, number) =>
      make("li", { class: `line-${name}` }, swatch(), make("span", {}, text), this.#values[number]),
    );
    this.#svg.setAttribute("aria-label", `${title}, last hour. The table below has the values.`);
    this.element = make(
      "figure",
      { class: "panel" },
      make("figcaption", {}, make("h3", {}, title), make("p", { class: "note" }, explained)),
      make("ul", { class: "legend" }, legend),
      this.#svg,
      this.#note,
      make(
        "details",
        {},
        make("summary", {}, "Show as a table"),
        make(
          "div",
          { class: "scroll", role: "region", tabindex: "0", "aria-label": `${title} as a table` },
          this.#table(title, unit),
        ),
      ),
    );
    this.#sizes = new ResizeObserver(() => this.#draw());
    this.#sizes.observe(this.#svg);
  }

  /** Show `points`, oldest first, on an axis between two times; each has `at`, when its `step` seconds began. */
  show(points, step, { from, until }) {
    this.#points = points;
    this.#step = step;
    this.#from = from;
    this.#until = until;
    this.#draw();
    this.#legend(null);
    fill(
      this.#rows,
      [...points].reverse().map((point) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, this.#time(point.at)),
          this.#lines.map(({ value }) => make("td", { class: "numeric" }, this.#written(value(point)))),
        ),
      ),
    );
  }

  close() {
    this.#sizes.disconnect();
  }

  #table(title, unit) {
    const heads = this.#lines.map((line) => make("th", { scope: "col", class: "numeric" }, line.title));
    return make(
      "table",
      {},
      make("caption", { class: "unseen" }, `${title} (${unit}), newest first`),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "From"), heads)),
      this.#rows,
    );
  }

  #time(at) {
    return this.#step % 60 ? clock(at) : minutes(at);
  }

  #written(value) {
    return value === null || value === undefined ? "-" : this.#write(value);
  }

  #legend(point) {
    const shown = point || this.#points.at(-1);
    this.#lines.forEach(({ value }, number) =>
      setText(this.#values[number], shown ? this.#written(value(shown)) : "-"),
    );
    const [from, to] = shown ? [this.#time(shown.at), this.#time(shown.at + this.#step)] : ["", ""];
    setText(
      this.#note,
      shown ? `${point ? "" : "Newest: "}${from} to ${to}` : "No request in the last hour.",
    );
  }

  #draw() {
    const width = this.#svg.clientWidth;
    if (!width || !this.#until) return; // not on the screen, or nothing known
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const values = this.#points
      .flatMap((point) => this.#lines.map(({ value }) => value(point)))
      .filter((value) => value > 0);
    const scale = niceScale(Math.max(0, ...values));
    const x = (at) =>
      MARGIN.left + ((at - this.#from) / (this.#until - this.#from)) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => HEIGHT - MARGIN.bottom - (value / scale.top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    fill(
      this.#svg,
      this.#grid(scale, y, width),
      this.#clock(x, width),
      this.#lines.map((line) => this.#path(line, x, y)),
    );
  }

  #grid({ ticks }, y, width) {
    return ticks.flatMap((tick) => [
      makeSvg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
      makeSvg(
        "text",
        { class: "axis", x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" },
        this.#tick(tick),
      ),
    ]);
  }

  #clock(x, width) {
    const most = (width - MARGIN.left) / 60; // labels
    const every = EVERY.find((each) => (this.#until - this.#from) / each <= most) || HOUR;
    const first = Math.ceil(this.#from / every) * every;
    const ticks = [];
    for (let at = first; at <= this.#until; at += every) {
      if (x(at) < MARGIN.left || x(at) > width - 20) continue;
      ticks.push(
        makeSvg("text", { class: "axis", x: x(at), y: HEIGHT - 6, "text-anchor": "middle" }, minutes(at)),
      );
    }
    return ticks;
  }

  /** Draw a line through the middles of the steps; where a value is unknown it has a gap. */
  #path({ name, value }, x, y) {
    const runs = [[]];
    let last = null;
    for (const point of this.#points) {
      const known = value(point);
      if (known === null || known === undefined || (last !== null && point.at - last > 1.5 * this.#step))
        runs.push([]);
      if (known !== null && known !== undefined) {
        const middle = Math.min(point.at + this.#step / 2, this.#until);
        runs.at(-1).push(`${x(middle).toFixed(1)},${y(known).toFixed(1)}`);
      }
      last = point.at;
    }
    return runs
      .filter((run) => run.length)
      .map((run) =>
        run.length === 1
          ? makeSvg("circle", {
              class: `dot line-${name}`,
              cx: run[0].split(",")[0],
              cy: run[0].split(",")[1],
              r: 2.5,
            })
          : makeSvg("polyline", { class: `line line-${name}`, points: run.join(" ") }),
      );
  }

  #pointed(event) {
    const { left, width } = this.#svg.getBoundingClientRect();
    const share = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const at = this.#from + share * (this.#until - this.#from);
    this.#legend(this.#points.find((point) => point.at <= at && at < point.at + this.#step) || null);
  }
}

function swatch() {
  return makeSvg(
    "svg",
    { class: "swatch", width: 22, height: 10, "aria-hidden": "true" },
    makeSvg("line", { class: "line", x1: 1, x2: 21, y1: 5, y2: 5 }),
  );
}

/** Round numbers from 0 to just above `most`: three to five of them. */
export function niceScale(most) {
  if (!(most > 0)) return { top: 1, ticks: [0] };
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let number = 0; number * step < most + step; number++) ticks.push(number * step);
  return { top: ticks.at(-1), ticks };
}
