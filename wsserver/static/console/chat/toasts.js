/** Notices that appear above the page. */

import { byId, h } from "../parts/dom.js";
import { text } from "./texts.js";

const AUTO_CLOSE_MS = 6000;
const LIMIT = 5;

/** Show a notice and return it; `kind` is info, success, warning, error or urgent. */
export function toast(message, { title = "", kind = "info", link = null, stays = false } = {}) {
  const box = byId("toasts");
  const notice = h(
    "article",
    { className: "toast" },
    title ? h("h3", {}, title) : null,
    h("p", {}, message),
    link ? h("a", { href: link, rel: "noopener" }, text("open_link")) : null,
    h("button", { type: "button", className: "quiet", onclick: () => notice.remove() }, "×"),
  );
  notice.dataset.kind = kind;
  notice.lastElementChild.setAttribute("aria-label", text("dismiss"));
  box.append(notice);
  while (box.childElementCount > LIMIT) box.firstElementChild.remove();
  if (!stays) setTimeout(() => notice.remove(), AUTO_CLOSE_MS);
  return notice;
}

/** Show a push of type `notification`. */
export function notify({ notification }) {
  toast(notification.message, {
    title: notification.title,
    kind: notification.type,
    link: safeLink(notification.action_url),
    stays: !notification.auto_close,
  });
}

/** Allow http and https only: a `javascript:` URL must not become a link. */
function safeLink(address) {
  if (!address) return null;
  const url = new URL(address, location.href);
  return /^https?:$/.test(url.protocol) ? url.href : null;
}
