// Where one is: #/INSTANCE/VIEW/ARGUMENT…

/** The link to a place. */
export const href = (label, view, ...rest) => `#/${[label, view, ...rest].map(encodeURIComponent).join("/")}`;

/** The parts of a place, decoded; [] for another hash. */
export function parts(hash) {
  if (!hash.startsWith("#/")) return [];
  try {
    return hash.slice(2).split("/").map(decodeURIComponent);
  } catch {
    return []; // a stray percent sign
  }
}

/** An endpoint as people read it: requests without a route have none, and beyond 512 they are counted together. */
export const endpointTitle = (name) =>
  name === null || name === undefined ? "(others)" : name || "(no route)";
