// A profile: ask for one, or open a file with one, and show it as a flame graph and as a table of functions.

import { collapsed, functionsOf, treeOf } from "./collapsed.js";
import { fill, make } from "./element.js";
import { FlameGraph } from "./flame-graph.js";
import { panel } from "./panel.js";
import { ProfileForm } from "./profile-form.js";
import { Table } from "./table.js";
import { count } from "./units.js";
import { explained, sentence, title } from "./words.js";

const views = new Map(); // by label: a profile goes on, and stays, while one looks at other views

/** The profile; its argument is an endpoint to choose. */
export function profile({ label, rest: [endpoint] }) {
  if (!views.has(label)) views.set(label, made(label));
  const view = views.get(label);
  if (endpoint) view.choose(endpoint);
  return view;
}

function made(label) {
  const [shown, said, asks] = [make("div"), make("div", { role: "status" }), make("div")];
  const keep = (text, origin) => fill(shown, graph(treeOf(text), text, origin));
  const taken = (result, origin) => keep(collapsed(result), origin);
  const form = new ProfileForm(label, { said, taken });
  return {
    title: "Profile",
    element: make(
      "div",
      { class: "view" },
      panel("Take a profile", { note: sentence("profile") }, asks, opener(said, keep), said),
      shown,
    ),
    choose: (endpoint) => form.choose(endpoint),
    show: (seen) => {
      form.show(seen);
      const why = refusal(seen);
      if (asks.dataset.why === why || (seen.away && asks.hasChildNodes())) return;
      asks.dataset.why = why;
      fill(asks, why ? make("p", {}, why) : form.element);
    },
  };
}

/** Say why one cannot take a profile; "": one can. */
function refusal({ changesAllowed, away, may, role, label }) {
  const open = "You can open one from a file.";
  if (!changesAllowed) return `To take a profile, start flaskd_ctl web with --allow-changes. ${open}`;
  if (away) return `${label} is away. ${open}`;
  return may.has("profile") ? "" : `Your role here is ${role}, which may not take a profile. ${open}`;
}

function opener(said, keep) {
  const file = make("input", { type: "file", accept: ".txt,.collapsed,.folded,text/plain" });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    try {
      keep(await chosen.text(), chosen.name);
      fill(said, make("p", {}, `Opened ${chosen.name}.`));
    } catch (error) {
      fill(
        said,
        make("p", { class: "bad" }, `${chosen.name} is not a profile as collapsed text. ${error.message}`),
      );
    }
  });
  return make(
    "details",
    {},
    make("summary", {}, "Open a profile from a file"),
    make("p", { class: "note" }, "As flaskd_ctl profile --format collapsed writes it."),
    make("label", { class: "row" }, make("span", {}, "File"), file),
  );
}

function graph(root, text, name) {
  if (!root.total)
    return panel("Flame graph", {}, make("p", {}, "No sample: no request was seen in this time."));
  const flames = new FlameGraph();
  flames.show(root);
  const share = (samples) => `${((100 * samples) / root.total).toFixed(1)} %`;
  const table = new Table({
    caption: "Functions",
    key: (row) => row.name,
    sort: "own",
    empty: "No function.",
    most: 25,
    columns: [
      { field: "function", title: "Function", className: "wide" },
      { field: "own", title: title("own"), explained: explained("own"), write: share, numeric: true },
      { field: "total", title: title("total"), explained: explained("total"), write: share, numeric: true },
      { field: "place", title: "File and line", explained: "Where the function begins", extra: true },
    ],
  });
  table.show(functionsOf(root));
  const save = make("button", { type: "button", click: () => saved(text, name) }, "Save as collapsed text");
  return make(
    "div",
    { class: "view" },
    panel(
      "Flame graph",
      {
        note: `${name}: ${count(root.total, "sample")}. A box is as wide as its share of them; what it called is below it.`,
      },
      flames.element,
      save,
    ),
    panel("Functions", { note: "The same as a table." }, table.element),
  );
}

function saved(text, name) {
  const url = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
  make("a", { href: url, download: `${name.replaceAll(/[^\w.-]+/g, "-")}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
