/** Short notices at the edge of the window. */

import { byId, h } from "./dom.js";
import { t } from "./texts.js";

const SHOWN_MS = 6000;
const LIMIT = 4;

/** Show a notice; `kind` is info, success, warning or error; errors stay until they are closed. */
export function toast(message, { kind = "info", stays = kind === "error", action = null } = {}) {
  const box = byId("toasts");
  const close = h(
    "button",
    { type: "button", className: "icon", onclick: () => notice.remove() },
    "×",
  );
  close.setAttribute("aria-label", t("dismiss"));
  const notice = h(
    "div",
    { className: "toast", dataset: { kind } },
    h("p", {}, message),
    action,
    close,
  );
  box.append(notice);
  while (box.childElementCount > LIMIT) box.firstElementChild.remove();
  if (!stays) setTimeout(() => notice.remove(), SHOWN_MS);
  return notice;
}
