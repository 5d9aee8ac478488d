// A list of facts: names and values.

import { fill, make, setAttribute, setText } from "./element.js";

/** Make a list of [name, value, explained?]; a value is text or {text, href}, and one that is null is left out. */
export function facts(pairs) {
  return showFacts(make("dl", { class: "list" }), pairs);
}

/** Show other facts in a list. Those that it has already stay where they are, with the focus and what is selected. */
export function showFacts(list, pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const names = known.map(([name, { href }]) => `${name}${href ? " →" : ""}`).join("\n");
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    fill(list, known.map(row));
  }
  known.forEach(([, value], number) => write(list.children[number].lastElementChild, value));
  return list;
}

function row([name, { href }, explained]) {
  return make("div", {}, make("dt", { title: explained }, name), make("dd", {}, href ? make("a", {}) : null));
}

function write(place, value) {
  if (!value.href) return setText(place, String(value));
  setAttribute(place.firstElementChild, "href", value.href);
  return setText(place.firstElementChild, value.text);
}
