/** The dialog that asks for a token; it stays until somebody has signed in. */

import { h, setText } from "./dom.js";
import { t } from "./texts.js";

/**
 * Ask for a token until it is accepted.
 *
 * @param {import("./account.js").Account} account
 * @param {string} reason why, shown above the field; may be empty
 */
export function askToSignIn(account, reason) {
  const { promise, resolve } = Promise.withResolvers();
  const problem = h("p", { className: "problem", role: "alert" }, reason);
  const field = h("input", {
    id: "sign-in-token",
    type: "password",
    required: true,
    spellcheck: false,
    autocomplete: "off",
  });
  const button = h("button", { type: "submit" }, t("sign_in"));
  const form = h(
    "form",
    { className: "sign-in", autocomplete: "off" },
    h("h1", {}, "wsserver ", h("span", {}, t("console"))),
    problem,
    h("label", { htmlFor: field.id }, t("token")),
    field,
    button,
    h("p", { className: "hint" }, t("sign_in_hint"), " ", h("code", {}, "wsctl console")),
    h("p", { className: "hint" }, t("sign_in_lasts")),
  );
  const dialog = h("dialog", { className: "sign-in-dialog", "aria-label": t("sign_in") }, form);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("close", () => {
    if (dialog.isConnected) dialog.showModal(); // browsers close it at a second Escape all the same
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    button.disabled = true;
    try {
      await account.signIn({ token });
    } catch (error) {
      setText(problem, t("sign_in_refused", { reason: error.message }));
      button.disabled = false;
      field.focus();
      return;
    }
    field.value = "";
    dialog.remove();
    resolve();
  });
  document.body.append(dialog);
  dialog.showModal();
  field.focus();
  return promise;
}

/**
 * Use the ticket of an address such as `/console#ticket=…`; returns why it was refused, or "".
 *
 * The ticket leaves the address before anything else: that is visible on the screen, and is kept
 * in the browser's history.
 */
export async function useTicket(account) {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (ticket === null) return "";
  history.replaceState(null, "", location.pathname + location.search);
  try {
    await account.signIn({ ticket });
    return "";
  } catch (error) {
    return error.status === 401 ? t("ticket_used") : error.message;
  }
}
