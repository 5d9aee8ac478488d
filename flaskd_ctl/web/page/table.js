// A table that can be sorted and filtered, and that keeps its rows while they change: the focus, and where one reads, stay.
//
// A column: {field, title, explained, write(value, row), href(row), button(row), numeric, className, extra, spare}. Where there
// is less room, `extra` columns are not shown; where there is little, `spare` ones neither. Cells with `button` are made once
// for each row. Unknown values are last, however one sorts.

import { make, setAttribute, setText } from "./element.js";
import { plain, sentences } from "./units.js";

export class Table {
  #columns;
  #key;
  #empty;
  #most;
  #filtered;
  #sort;
  #reverse = false;
  #wanted = "";
  #rows = [];
  #shown = new Map(); // by key: {line, cells, row}
  #heads = [];
  #body = make("tbody");
  #note = make("p", { class: "note" });
  element;

  constructor({ caption, columns, key, sort = null, empty, filter = true, most = 200 }) {
    this.#columns = columns;
    this.#key = key;
    this.#sort = sort;
    this.#empty = empty;
    this.#most = most;
    this.#filtered = filter;
    const heads = columns.map((column) => this.#head(column));
    const table = make(
      "table",
      {},
      make("caption", { class: "unseen" }, caption),
      make("thead", {}, make("tr", {}, heads)),
    );
    table.append(this.#body);
    this.element = make(
      "div",
      { class: "table" },
      filter ? this.#filter(caption) : null,
      make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, table),
      this.#note,
    );
    this.#mark();
  }

  /** Show these rows; with none, `why` says why there are none. */
  show(rows, why = "") {
    this.#rows = rows;
    const kept = this.#arranged();
    const drawn = kept.slice(0, this.#most);
    this.#draw(drawn);
    const none =
      rows.length && this.#wanted ? `No row contains “${this.#wanted}”.` : sentences(why) || this.#empty;
    const left = kept.length - drawn.length;
    setText(
      this.#note,
      drawn.length ? (left && this.#filtered ? `${left} more rows: filter to find them.` : "") : none,
    );
    this.#note.hidden = !this.#note.textContent;
    this.element.classList.toggle("empty", !drawn.length);
  }

  #filter(caption) {
    const field = make("input", {
      type: "search",
      placeholder: "Filter",
      "aria-label": `Show only rows that contain a text: ${caption}`,
      autocomplete: "off",
      spellcheck: "false",
      input: () => {
        this.#wanted = field.value.trim();
        this.show(this.#rows);
      },
    });
    return make("div", { class: "filter" }, field);
  }

  #head(column) {
    const classes = this.#classes(column);
    if (column.button) {
      return make("th", { scope: "col", class: classes }, make("span", { class: "unseen" }, column.title));
    }
    const head = make(
      "th",
      { scope: "col", class: classes },
      make(
        "button",
        { type: "button", title: column.explained, click: () => this.#sortBy(column) },
        column.title,
      ),
    );
    this.#heads.push([column, head]);
    return head;
  }

  #classes({ numeric, extra, spare, className }) {
    return (
      [numeric && "numeric", extra && "extra", spare && "spare", className].filter(Boolean).join(" ") || null
    );
  }

  #sortBy(column) {
    this.#reverse = this.#sort === column.field ? !this.#reverse : false;
    this.#sort = column.field;
    this.#mark();
    this.show(this.#rows);
  }

  #mark() {
    for (const [column, head] of this.#heads) {
      const descending = Boolean(column.numeric) !== this.#reverse;
      setAttribute(
        head,
        "aria-sort",
        this.#sort === column.field ? (descending ? "descending" : "ascending") : null,
      );
    }
  }

  #arranged() {
    const wanted = this.#wanted.toLowerCase();
    const kept = wanted ? this.#rows.filter((row) => this.#text(row).includes(wanted)) : [...this.#rows];
    const column = this.#columns.find(({ field }) => field === this.#sort);
    if (!column) return kept;
    const down = Boolean(column.numeric) !== this.#reverse ? -1 : 1;
    const value = (row) => row[column.field] ?? null;
    return kept.sort((one, other) => {
      const [left, right] = [value(one), value(other)];
      if (left === null || right === null) return (left === null) - (right === null);
      if (typeof left === "number" && typeof right === "number") return down * (left - right);
      return down * String(left).localeCompare(String(right), "en", { numeric: true });
    });
  }

  #text(row) {
    return this.#columns
      .map((column) => (column.button ? "" : this.#written(column, row)))
      .join("\n")
      .toLowerCase();
  }

  #written(column, row) {
    return (column.write || plain)(row[column.field], row);
  }

  #draw(rows) {
    const focused = this.#body.contains(document.activeElement) ? document.activeElement : null;
    const keys = new Set(rows.map(this.#key));
    for (const [key, { line }] of this.#shown) {
      if (keys.has(key)) continue;
      line.remove();
      this.#shown.delete(key);
    }
    let place = this.#body.firstElementChild;
    for (const row of rows) {
      const one = this.#shown.get(this.#key(row)) || this.#made(row);
      one.row = row;
      this.#columns.forEach((column, number) => this.#write(one.cells[number], column, row));
      if (one.line === place) place = place.nextElementSibling;
      else this.#body.insertBefore(one.line, place);
    }
    if (focused && focused !== document.activeElement && focused.isConnected)
      focused.focus({ preventScroll: true });
  }

  #made(row) {
    const one = { line: make("tr"), cells: [], row };
    for (const column of this.#columns) {
      const cell = make("td", { class: this.#classes(column) });
      const content = column.button ? column.button(() => one.row) : column.href ? make("a", {}) : null;
      if (content) cell.append(content);
      one.cells.push(cell);
    }
    one.line.append(...one.cells);
    this.#shown.set(this.#key(row), one);
    return one;
  }

  #write(cell, column, row) {
    if (column.button) return;
    const text = this.#written(column, row);
    if (!column.href) return setText(cell, text);
    const href = column.href(row);
    setText(cell.firstElementChild, text);
    setAttribute(cell.firstElementChild, "href", href);
  }
}
