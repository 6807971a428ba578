/** Addresses of the console: which page an address shows, links and the back button. */

import { id } from "./api.js";

const ROOT = "/console";

/** The address of a page: `pathTo("sessions", sessionId)`. */
export function pathTo(...segments) {
  return [ROOT, ...segments.map(id)].join("/");
}

/** The name and the id in an address: `/console/sessions/s1` is `["sessions", "s1"]`. */
export function parsePath(path) {
  const [name = "", ...rest] = path
    .slice(ROOT.length)
    .split("/")
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  return [name, rest.length ? rest.join("/") : null];
}

export class Router {
  #show;

  /** `show(name, id, query)` is called for each address. */
  constructor(show) {
    this.#show = show;
  }

  start() {
    addEventListener("popstate", () => this.#render());
    document.addEventListener("click", (event) => this.#onClick(event));
    this.#render();
  }

  /** Go to another address, which the back button leaves again. */
  go(address) {
    if (address === location.pathname + location.search) return this.#render();
    history.pushState(null, "", address);
    this.#render();
  }

  /** Change the query of the present address, without showing the page again. */
  setQuery(changes) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") query.delete(name);
      else query.set(name, String(value));
    }
    const text = query.size ? `?${query}` : "";
    history.replaceState(history.state, "", location.pathname + text);
  }

  #render() {
    const [name, itemId] = parsePath(location.pathname);
    this.#show(name, itemId, new URLSearchParams(location.search));
  }

  #onClick(event) {
    const link = event.target.closest?.("a[href]");
    const isPlain =
      event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (!link || !isPlain || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    const isPage = url.pathname === ROOT || url.pathname.startsWith(`${ROOT}/`);
    if (url.origin !== location.origin || !isPage || link.dataset.reload !== undefined) return;
    if (url.hash && url.pathname === location.pathname) return;
    event.preventDefault();
    this.go(url.pathname + url.search);
  }
}
