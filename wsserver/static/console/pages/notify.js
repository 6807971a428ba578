/** Notify: a notification by several channels, from a text or a template. */

import { get, id, post } from "../parts/api.js";
import { facts, heading, panel } from "../parts/blocks.js";
import { confirmAction } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { area, choices, input, labelled, select, showFaults, wordsOf } from "../parts/forms.js";
import { count } from "../parts/format.js";
import { pathTo } from "../parts/router.js";
import { t } from "./publish_texts.js";

const TO = ["users", "session", "organization", "role", "broadcast"];
const ROLES = ["user", "manager", "admin", "service"];
const SEVERITIES = ["info", "success", "warning", "error", "urgent"];
const CHANNELS = ["websocket", "push", "sms", "email"];

export async function show({ root, query, signal, account, has }) {
  const ids = area("ids", { rows: 2, required: true, value: query.get("user") ?? "" });
  const one = input("one", { required: true, maxLength: 128 });
  const role = select(
    "role",
    ROLES.map((each) => [each, each]),
  );
  const toPlace = h("div");
  const to = choices(
    t("target"),
    "to",
    TO.map((each) => [each, t(`to_${each}`)]),
    "users",
    showTo,
  );
  const template = select("template", [
    ["", t("own_text")],
    ...(await templates(account, signal)).map((each) => [each, each]),
  ]);
  template.addEventListener("change", showText);
  const fields = {
    title: input("title", { required: true, maxLength: 200, spellcheck: true }),
    message: area("message", { required: true, rows: 3, className: "prose", spellcheck: true }),
    type: select(
      "type",
      SEVERITIES.map((each) => [each, each]),
    ),
    action_url: input("action_url", { placeholder: "/devices/device_123" }),
    params: area("params", { rows: 6, value: "{}" }),
  };
  const textPlace = h("div", { className: "fields" });
  const channels = CHANNELS.map((each) =>
    h("input", { type: "checkbox", name: "channels", value: each }),
  );
  const problem = h("p", { className: "problem", role: "alert" });
  const result = h("div", { "aria-live": "polite" });
  const form = h(
    "form",
    { className: "panel fields" },
    to.element,
    toPlace,
    account.isConfined ? h("p", { className: "hint" }, t("own_organization")) : null,
    labelled(t("template"), template),
    textPlace,
    h(
      "div",
      { className: "field", role: "group", "aria-label": t("channels") },
      h("span", { className: "label" }, t("channels")),
      h(
        "div",
        { className: "choices" },
        channels.map((each) =>
          h("label", { className: "choice" }, each, t(`channel_${each.value}`)),
        ),
      ),
      h("p", { className: "hint" }, t("channels_hint")),
    ),
    problem,
    h("div", { className: "row" }, h("button", { type: "submit" }, t("send"))),
  );
  form.addEventListener("submit", send);
  root.append(
    heading(t("notify")),
    h("div", { className: "columns form-and-answer" }, form, result),
  );
  showTo("users");
  showText();

  function showTo(value) {
    const field = { users: ids, role }[value] ?? one;
    const label = value === "users" ? t("ids_users") : t(`id_${value}`);
    fill(toPlace, value === "broadcast" ? null : labelled(label, field));
  }

  function showText() {
    if (template.value) return fill(textPlace, labelled(t("params"), fields.params));
    return fill(
      textPlace,
      labelled(t("title"), fields.title),
      labelled(t("message"), fields.message),
      labelled(t("severity"), fields.type),
      labelled(t("action_url"), fields.action_url),
    );
  }

  function body() {
    const made = {};
    const kind = to.value;
    if (kind === "users") made.user_ids = wordsOf(ids.value);
    else if (kind === "broadcast") made.broadcast = true;
    else if (kind === "role") made.role = role.value;
    else made[`${kind}_id`] = one.value.trim();
    if (template.value) {
      made.template = template.value;
      try {
        made.params = JSON.parse(fields.params.value);
      } catch (error) {
        throw new Error(t("bad_json", { field: t("params"), reason: error.message }), {
          cause: error,
        });
      }
    } else {
      made.title = fields.title.value;
      made.message = fields.message.value;
      made.type = fields.type.value;
      if (fields.action_url.value) made.action_url = fields.action_url.value;
    }
    const chosen = channels.filter(({ checked }) => checked).map(({ value }) => value);
    if (chosen.length) made.channels = chosen;
    return made;
  }

  async function send(event) {
    event.preventDefault();
    problem.textContent = "";
    let wanted;
    try {
      wanted = body();
    } catch (error) {
      showFaults(problem, error);
      return;
    }
    const key = crypto.randomUUID?.() ?? String(Math.random());
    const accepted = await confirmAction({
      title: t("notify_title"),
      confirm: t("send_now"),
      preview: () => preview(wanted),
      act: () => post("/notify", wanted, { key }),
    });
    if (accepted)
      fill(
        result,
        panel(t("accepted"), outcome(accepted, has("notifications")), { className: "success" }),
      );
  }
}

/** The server's templates, its own and those of its operator; none where they cannot be read. */
async function templates(account, signal) {
  const path = `/users/${id(account.identity.user_id)}/preferences`;
  try {
    return (await get(path, {}, signal)).templates;
  } catch {
    return [];
  }
}

function preview(wanted) {
  const to =
    wanted.user_ids?.join(", ") ??
    wanted.session_id ??
    wanted.organization_id ??
    wanted.role ??
    t("to_broadcast");
  return facts([
    [t("target"), to],
    [t("template"), wanted.template],
    [t("title"), wanted.title],
    [t("message"), wanted.message],
    [t("severity"), wanted.type],
    [t("action_url"), wanted.action_url],
    [t("channels"), wanted.channels?.join(", ")],
    [t("params"), wanted.params && JSON.stringify(wanted.params)],
  ]);
}

function outcome({ notification_id: id, deliveries }, hasPage) {
  if (id === null) return h("p", {}, t("not_sent"));
  return [
    h("p", {}, t("deliveries", { n: count(deliveries.length) })),
    hasPage
      ? h("a", { href: pathTo("notifications", id) }, t("open_notification"))
      : h("code", {}, id),
  ];
}
