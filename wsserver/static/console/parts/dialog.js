/** Dialogs: one that shows something, and one that asks before an action, with its preview. */

import { fill, h } from "./dom.js";
import { showFaults } from "./forms.js";
import { t } from "./texts.js";
import { toast } from "./toasts.js";

let counter = 0;

/** Open a modal dialog; returns it. It is removed when it closes. */
export function openDialog({ title, content, buttons = null, className = "" }) {
  counter += 1;
  const heading = h("h2", { id: `dialog-${counter}` }, title);
  const close = h(
    "button",
    { type: "button", className: "icon", onclick: () => dialog.close() },
    "×",
  );
  close.setAttribute("aria-label", t("close"));
  const dialog = h(
    "dialog",
    { className: `dialog ${className}`.trim(), "aria-labelledby": heading.id },
    h("header", {}, heading, close),
    h("div", { className: "dialog-body" }, content),
    buttons && h("footer", {}, buttons),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask before an action; resolves with its result, or null where it was called off.
 *
 * @param {{title: string, confirm: string, isDanger?: boolean, act: (form: FormData) => Promise<any>,
 *   preview: () => Promise<Node | Node[] | string> | Node | Node[] | string, fields?: Node[]}} options
 *   `preview` is shown above the buttons; the action can be confirmed once it is there. `act` gets
 *   the values of `fields`; where it rejects, the dialog stays and shows why.
 */
export function confirmAction({ title, confirm, isDanger = false, preview, fields = [], act }) {
  const { promise, resolve } = Promise.withResolvers();
  const body = h(
    "div",
    { className: "preview", "aria-live": "polite" },
    h("p", { className: "hint" }, t("loading")),
  );
  const problem = h("p", { className: "problem", role: "alert" });
  const entry = h("fieldset", { disabled: true, hidden: !fields.length }, fields);
  const button = h(
    "button",
    { type: "submit", disabled: true, className: isDanger ? "danger" : "" },
    confirm,
  );
  const cancel = h(
    "button",
    { type: "button", className: "quiet", onclick: () => dialog.close() },
    t("cancel"),
  );
  const form = h("form", { id: `confirm-${counter + 1}` }, body, entry, problem);
  button.setAttribute("form", form.id);
  const dialog = openDialog({ title, content: form, buttons: [cancel, button] });
  let result = null;
  let acting = Promise.resolve();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      const done = Promise.resolve(act(new FormData(form)));
      acting = done.catch(() => {});
      result = await done;
    } catch (error) {
      if (!dialog.open) toast(error.message, { kind: "error" });
      showFaults(problem, error);
      button.disabled = false;
      return;
    }
    dialog.close();
  });
  dialog.addEventListener("close", () => acting.then(() => resolve(result))); // its outcome counts
  Promise.resolve()
    .then(preview)
    .then((shown) => {
      fill(body, shown);
      button.disabled = entry.disabled = false;
      (fields.length ? form.querySelector("input, textarea, select") : cancel)?.focus();
    })
    .catch((error) => {
      body.replaceChildren();
      problem.textContent = error.message;
    });
  return promise;
}
