// What the server of this page is asked: instances, commands, the question before a change, and the live stream.

/** A call that failed. `name` says how (as in `flaskd_ctl --json`), `hint` what to do next, `data` has a traceback perhaps. */
export class CallError extends Error {
  constructor({ name, message, hint, data }, status) {
    super(message);
    this.name = name;
    this.hint = hint || "";
    this.data = data || {};
    this.status = status;
  }
}

const GONE = {
  name: "server_gone",
  message: "flaskd_ctl web does not answer.",
  hint: "It may have ended. Start it again in your terminal, and open the URL that it prints.",
};
const ODD = { name: "failed", message: "The answer of flaskd_ctl web is not JSON.", hint: "" };

async function exchange(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError(GONE, 0);
  }
  let content;
  try {
    content = await response.json();
  } catch {
    throw new CallError(ODD, response.status);
  }
  if (!response.ok) throw new CallError(content.error || ODD, response.status);
  return content;
}

const place = (label) => `/api/instances/${encodeURIComponent(label)}`;

/** The instances, and whether changes are allowed. */
export const instances = () => exchange("/api/instances");

/** Call a command; the answer has its `result`, and as `text` what to say of it. */
export const call = (label, method, params = {}, signal = undefined) =>
  exchange(`${place(label)}/call`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ method, params }),
    signal,
  });

/** The question to ask before a change, and the call that makes it. `row` has the worker, and the id of a request. */
export const change = (label, name, row = {}) => {
  const query = new URLSearchParams(Object.entries(row).filter(([, value]) => value));
  return exchange(`${place(label)}/changes/${name}?${query}`);
};

/** The URL of the live stream, from the event after `last` on. */
export const livePath = (label, last) =>
  `${place(label)}/live${last ? `?last=${encodeURIComponent(last)}` : ""}`;
