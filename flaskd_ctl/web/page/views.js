// The views, by the name that is in the address, and the links to them.

import { make } from "./element.js";
import { endpoint, endpoints } from "./endpoints.js";
import { error, errors } from "./errors.js";
import { events, incident } from "./events.js";
import { help } from "./help.js";
import { routes, slow } from "./listings.js";
import { log } from "./log.js";
import { overview } from "./overview.js";
import { href } from "./places.js";
import { profile } from "./profile.js";
import { request, requests } from "./requests.js";
import { worker, workers } from "./workers.js";

/**
 * A view gets a context and returns {title, element, show(instance)}, and perhaps `close`, `focus`, and `hears`: what on the
 * live stream it shows, if that is not only `look`.
 */
export const VIEWS = {
  overview,
  endpoints,
  endpoint,
  requests,
  request,
  workers,
  worker,
  errors,
  error,
  slow,
  routes,
  events,
  incident,
  log,
  profile,
  help,
};

/** The views with a button for a row; they are made again when something else may be changed. */
export const WITH_CHANGES = new Set(["endpoint", "requests", "request", "workers", "worker"]);

const LINKS = {
  overview: "Overview",
  endpoints: "Endpoints",
  requests: "Requests",
  workers: "Workers",
  errors: "Errors",
  slow: "Slow",
  routes: "Routes",
  events: "Events",
  log: "Log",
  profile: "Profile",
  help: "Help",
};

const LISTED_UNDER = {
  endpoint: "endpoints",
  request: "requests",
  worker: "workers",
  error: "errors",
  incident: "events",
};

/** Make the links to the views; the one of `view` is marked as the current page. */
export function links(label, view) {
  const current = LISTED_UNDER[view] || view;
  return make(
    "ul",
    {},
    Object.entries(LINKS).map(([name, text]) =>
      make(
        "li",
        {},
        make("a", { href: href(label, name), "aria-current": name === current ? "page" : null }, text),
      ),
    ),
  );
}
