// Profiles as collapsed text (one stack a line, calls between semicolons, then a count), and the tree of calls that is in it.

const OTHER = "(stacks too rare for the reply)";

/** Write the result of `profile` as collapsed text, as `flaskd_ctl profile --format collapsed` does. */
export function collapsed({ workers = [] }) {
  const lines = [];
  for (const worker of workers) {
    if (worker.error) continue;
    const who = worker.worker ? `worker ${worker.worker} (pid ${worker.pid})` : `pid ${worker.pid}`;
    const names = (worker.functions || []).map(({ function: name, file, line }) =>
      file ? `${name} (${file}:${line})` : name,
    );
    const stacks = (worker.stacks || []).map(({ frames, count }) => [
      frames.map((number) => names[number]),
      count,
    ]);
    if (worker.other) stacks.push([[], worker.other]);
    for (const [frames, count] of stacks) {
      const calls = [who, ...(frames.length ? frames : [OTHER])];
      lines.push(
        `${calls.map((call) => call.replaceAll(";", ",").replaceAll(/\s+/g, " ")).join(";")} ${count}`,
      );
    }
  }
  return lines.join("\n");
}

/** A name as its function and its place: "total (shop.py:17)" is ["total", "shop.py:17"]. */
export function split(name) {
  const found = /^(.*) \(([^()]*:\d+)\)$/.exec(name);
  return found ? [found[1], found[2]] : [name, ""];
}

/** A call in the tree: how many samples were in it, how many in it itself, and what it called. */
export class Call {
  name;
  parent;
  depth;
  total = 0;
  own = 0;
  calls = new Map();

  constructor(name, parent) {
    this.name = name;
    this.parent = parent;
    this.depth = parent ? parent.depth + 1 : 0;
  }

  get function() {
    return split(this.name)[0];
  }

  /** The calls in it, the largest first. */
  get largest() {
    return [...this.calls.values()].sort((one, other) => other.total - one.total);
  }

  called(name) {
    if (!this.calls.has(name)) this.calls.set(name, new Call(name, this));
    return this.calls.get(name);
  }
}

/** Read collapsed text; throws an Error that names the line that is none. */
export function treeOf(text) {
  const root = new Call("all", null);
  for (const [number, line] of text.split("\n").entries()) {
    if (!line.trim()) continue;
    const found = /^(.+) (\d+)$/.exec(line.trimEnd());
    if (!found) throw new Error(`Line ${number + 1} is not a stack with a count: ${line.slice(0, 60)}`);
    const samples = Number(found[2]);
    root.total += samples;
    let call = root;
    for (const name of found[1].split(";")) {
      call = call.called(name);
      call.total += samples;
    }
    call.own += samples;
  }
  return root;
}

/** Sum the tree up by function: {name, function, place, own, total}, in samples. A function that calls itself counts once. */
export function functionsOf(root) {
  const found = new Map();
  const visit = (call, above) => {
    const [name, place] = split(call.name);
    const one = found.get(call.name) || { name: call.name, function: name, place, own: 0, total: 0 };
    found.set(call.name, one);
    one.own += call.own;
    if (!above.has(call.name)) one.total += call.total;
    const within = new Set(above).add(call.name);
    for (const each of call.calls.values()) visit(each, within);
  };
  for (const process of root.calls.values())
    for (const call of process.calls.values()) visit(call, new Set());
  return [...found.values()];
}
