// What each number means: its name, its unit, a sentence, and the page of the documentation that says more.

const STATISTICS = "Statistics and metrics";
const WORKERS = "Workers";
const STATUS = "Status and events";

export const WORDS = {
  rate: ["Requests", "per second", "Requests that finished, in the last seconds.", STATISTICS],
  errors: [
    "Errors",
    "per second",
    "Responses of 500 or above, and responses that the application did not complete.",
    STATISTICS,
  ],
  p50: [
    "p50",
    "time",
    "Half of the requests of the last minute took no longer in the application.",
    STATISTICS,
  ],
  p95: [
    "p95",
    "time",
    "95 % of the requests of the last minute took no longer in the application.",
    STATISTICS,
  ],
  p99: [
    "p99",
    "time",
    "99 % of the requests of the last minute took no longer. At most 5 % off.",
    STATISTICS,
  ],
  queue: [
    "Waiting",
    "requests",
    "Requests that wait for a free thread, and connections that no worker has accepted yet.",
    STATISTICS,
  ],
  busy: [
    "Busy threads",
    "of all",
    "Requests in the application now, and how many there can be at a time.",
    STATISTICS,
  ],
  workers: [
    "Workers",
    "serving of wanted",
    "Worker processes that serve, and how many the settings, the load or an operator want.",
    WORKERS,
  ],
  cpu: [
    "CPU",
    "of one core",
    "CPU time of all workers in the last seconds. 200 % are two cores in full use.",
    STATISTICS,
  ],
  memory: [
    "Memory",
    "MiB",
    "Memory of all workers (PSS): what several processes share counts once. RSS where PSS is unknown.",
    STATISTICS,
  ],
  uptime: ["Uptime", "time", "Time since the instance was started.", STATUS],
  inRotation: [
    "In rotation",
    "yes or no",
    "Whether readiness is on, so that balancers send new requests.",
    "Load balancers",
  ],
  role: [
    "Your role",
    "",
    "What you may do here: a viewer looks, an operator changes, an admin may do everything.",
    "Access control",
  ],
  queueTime: [
    "Time in the queue",
    "time",
    "Time before the application: that a request waited for a free thread; behind a trusted proxy, since it came there.",
    STATISTICS,
  ],
  latency: ["Latency", "time", "Time in the application, to the end of the response.", STATISTICS],
  inFlight: [
    "In flight",
    "requests",
    "Requests that have reached the application and whose response is not complete.",
    STATUS,
  ],
  age: [
    "Age",
    "time",
    "Time since the request reached the application, or since the worker was started.",
    STATUS,
  ],
  generation: [
    "Generation",
    "",
    "The number of the reload that a worker was started for, beginning with 1.",
    WORKERS,
  ],
  rss: ["RSS", "MiB", "Memory of the process, with what it shares with others.", STATISTICS],
  pss: [
    "PSS",
    "MiB",
    "Memory of the process; what it shares is divided among the processes that share it.",
    STATISTICS,
  ],
  incident: [
    "Incident",
    "",
    "The record of a worker that crashed, hung or could not start, with its requests and stacks or traceback.",
    "Workers",
  ],
  stack: ["Stack", "", "The calls in which a thread is, the newest first.", "Stacks, profiles and garbage"],
  profile: [
    "Profile",
    "",
    "In which functions the threads of a worker spend their time, by samples of their stacks.",
    "Stacks, profiles and garbage",
  ],
  own: [
    "Own",
    "share of samples",
    "Samples in which the function itself was running.",
    "Stacks, profiles and garbage",
  ],
  total: [
    "Total",
    "share of samples",
    "Samples in which the function, or one that it called, was running.",
    "Stacks, profiles and garbage",
  ],
};

export const title = (word) => WORDS[word][0];

export const sentence = (word) => WORDS[word][2];

/** The sentence of a word and its unit, for a tooltip. */
export function explained(word) {
  const [, unit, text] = WORDS[word];
  return unit ? `${text} Unit: ${unit}.` : text;
}
