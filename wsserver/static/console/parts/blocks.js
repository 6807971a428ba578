/** Pieces that pages are made of: headings, panels, facts, links to what has a page. */

import { h, icon } from "./dom.js";
import { ago, dateTime, timeOf } from "./format.js";
import { pathTo } from "./router.js";
import { t } from "./texts.js";
import { toast } from "./toasts.js";

const USER_ID = /^(?!\.{1,2}$)[A-Za-z0-9._:@|+-]{1,128}$/;

/** The heading of a page, with a way back to its list, words beside it and actions. */
export function heading(title, { back = null, beside = [], actions = [] } = {}) {
  return h(
    "div",
    { className: "heading" },
    back && h("a", { className: "back", href: back.href }, `‹ ${back.label}`),
    h("h1", {}, title),
    beside,
    actions.length ? h("div", { className: "actions" }, actions) : null,
  );
}

/** A part of a page with a title. */
export function panel(title, content, { actions = [], className = "" } = {}) {
  const top = actions.length
    ? h(
        "div",
        { className: "row spread" },
        h("h2", {}, title),
        h("div", { className: "actions" }, actions),
      )
    : h("h2", {}, title);
  return h("section", { className: `panel ${className}`.trim() }, top, content);
}

/** A list of terms and values; those without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { className: "facts" },
    shown.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
  );
}

export function button(label, onclick, className = "quiet") {
  return h("button", { type: "button", className, onclick }, label);
}

/** A time as how long ago; the exact time is its title. */
export function when(timestamp) {
  if (!timestamp) return "–";
  return h("time", { dateTime: timestamp, title: dateTime(timestamp) }, ago(timestamp));
}

/** A time: of today the time of day, else with the date. */
export function at(timestamp) {
  if (!timestamp) return "–";
  const isToday = new Date(timestamp).toDateString() === new Date().toDateString();
  const text = isToday ? timeOf(timestamp) : dateTime(timestamp);
  return h("time", { dateTime: timestamp, title: dateTime(timestamp) }, text);
}

/** A word for a state, in its colour: success, warning, error, info or none. */
export function pill(text, kind = "") {
  return h("span", { className: "pill", dataset: { kind } }, text);
}

/** A link to a user; what is no id, such as `(server)`, is only shown. */
export function userLink(userId, name = null) {
  if (!USER_ID.test(userId)) return userId;
  // Isolated and cut by itself: a name must not hide the id, nor turn it round by its direction.
  const shown = name && h("bdi", { className: "name" }, name);
  const label = shown && name !== userId ? [shown, " ", h("small", {}, userId)] : userId;
  return h("a", { href: pathTo("users", userId) }, label);
}

export const sessionLink = (id, label = id) => h("a", { href: pathTo("sessions", id) }, label);
export const connectionLink = (id) =>
  h("a", { className: "mono", href: pathTo("connections", id) }, id);
export const traceLink = (id, label = id) =>
  h("a", { className: "mono", href: pathTo("trace", id) }, label);

/** Text in a fixed font with a button that copies it. */
export function copyable(text) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast(t("copied"), { kind: "success" });
    } catch {
      getSelection().selectAllChildren(shown); // without HTTPS there is no clipboard
    }
  };
  const shown = h("code", {}, text);
  const trigger = h(
    "button",
    { type: "button", className: "icon", title: t("copy"), onclick: copy },
    icon("copy"),
  );
  trigger.setAttribute("aria-label", `${t("copy")}: ${text}`);
  return h("span", { className: "copyable" }, shown, trigger);
}

/** Nodes whose answer is missing, as a note; null without any. */
export function missing(nodes) {
  return nodes?.length
    ? h("p", { className: "problem" }, t("unreachable", { nodes: nodes.join(", ") }))
    : null;
}

/** JSON, for reading. */
export function json(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return h("pre", { className: "json", tabIndex: 0, role: "group", "aria-label": "JSON" }, text);
}
