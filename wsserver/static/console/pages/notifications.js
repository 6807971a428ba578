/** Notifications: all with their states, or one with its deliveries and attempts. */

import { get, id, post } from "../parts/api.js";
import {
  at,
  button,
  copyable,
  facts,
  heading,
  json,
  panel,
  pill,
  userLink,
  when,
} from "../parts/blocks.js";
import { CursorTable } from "../parts/cursor_table.js";
import { confirmAction } from "../parts/dialog.js";
import { h, update } from "../parts/dom.js";
import { count, shortJson } from "../parts/format.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { DataTable } from "../parts/table.js";
import { toast } from "../parts/toasts.js";
import { t } from "./record_texts.js";

export const STATES = {
  ...{ pending: "warning", sending: "info", sent: "info", delivered: "success", read: "success" },
  ...{ failed: "error", cancelled: "", expired: "warning", not_configured: "", no_address: "" },
};
const SEVERITIES = {
  info: "info",
  success: "success",
  warning: "warning",
  error: "error",
  urgent: "error",
};
const typeName = (type) => (t.has(`type_${type}`) ? t(`type_${type}`) : type);
const typePill = (type) => pill(typeName(type), SEVERITIES[type] ?? "");
const CHANNELS = ["websocket", "push", "sms", "email"];
const RETRIED = ["failed", "no_address", "not_configured"];
const OPEN = ["pending", "sending"];
const ONE_S = 3;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

function showAll({ root, query, signal, router, shell, has }) {
  const table = new CursorTable({
    label: t("notifications"),
    path: "/notifications",
    name: "notifications",
    columns: [
      { label: t("created"), value: (row) => at(row.created_at) },
      { label: t("type"), value: (row) => typePill(row.type) },
      {
        label: t("title"),
        isTitle: true,
        value: (row) =>
          h(
            "a",
            { href: pathTo("notifications", row.notification_id) },
            row.title || row.notification_id,
          ),
      },
      {
        label: t("message"),
        value: (row) => h("span", { className: "clip long", title: row.message }, row.message),
        isWide: true,
      },
      { label: t("states"), value: (row) => statesCell(row.states) },
      { label: t("template"), value: (row) => row.template, isWide: true },
      { label: t("sender"), value: (row) => row.sender && userLink(row.sender), isWide: true },
    ],
    filters: [
      {
        name: "state",
        label: t("every_state"),
        options: Object.keys(STATES).map((each) => [each, stateName(each)]),
      },
      { name: "channel", label: t("every_channel"), options: CHANNELS.map((each) => [each, each]) },
      {
        name: "type",
        label: t("every_type"),
        options: Object.keys(SEVERITIES).map((each) => [each, typeName(each)]),
      },
      { name: "user_id", label: t("user") },
      {
        name: "since",
        label: t("since"),
        options: ["1h", "24h", "7d", "30d"].map((each) => [each, t(`since_${each}`)]),
      },
    ],
    query,
    router,
    signal,
    shell,
  });
  const dead = h(
    "a",
    { className: "button quiet", href: `${pathTo("notifications")}?state=failed` },
    t("dead_letters"),
  );
  const create = has("notify")
    ? h("a", { className: "button", href: pathTo("notify") }, t("notify"))
    : null;
  root.append(heading(t("notifications"), { actions: [dead, create] }), table.element);
  table.start();
}

async function showOne({ root, id: notificationId, query, signal, account, router, shell }) {
  const path = `/notifications/${id(notificationId)}`;
  let notification = await get(path, {}, signal);
  const actions = [];
  if (account.may("notifications:send")) {
    actions.push(
      button(t("retry"), () => act("retry", RETRIED)),
      button(t("cancel"), () => act("cancel", OPEN), "quiet danger"),
    );
  }
  const [what, summary, note] = [h("div"), h("div"), h("div", { className: "note" })];
  const table = new DataTable({
    label: t("deliveries"),
    columns: deliveryColumns(),
    keyOf: (row) => row.delivery_id,
    file: "deliveries",
    router,
    query,
  });
  root.append(
    heading(t("notification"), {
      back: { href: pathTo("notifications"), label: t("notifications") },
      beside: [copyable(notificationId)],
      actions,
    }),
    note,
    h("div", { className: "columns" }, panel(t("notification"), what), panel(t("states"), summary)),
    table.element,
  );

  function draw() {
    update(note, notification.truncated ? h("p", { className: "hint" }, t("truncated")) : null);
    update(what, factsOf(notification));
    update(summary, statesCell(notification.states));
    table.set(notification.deliveries);
  }

  async function act(name, states) {
    const found = states.filter((each) => notification.states[each]);
    const result = await confirmAction({
      title: t(`${name}_title`),
      confirm: t(name),
      isDanger: name === "cancel",
      preview: () => [
        h("p", {}, t(`${name}_preview`)),
        h("p", {}, found.length ? statesCell(notification.states, found) : t("nothing")),
      ],
      act: () => post(`${path}/${name}`),
    });
    if (!result) return;
    const [text, n] =
      name === "retry" ? ["retried", result.retried] : ["cancelled", result.cancelled];
    toast(t(text, { n: count(n) }), { kind: "success" });
    notification = result;
    draw();
    reload();
  }

  const isOpen = () => OPEN.some((each) => notification.states[each]);
  draw();
  const reload = poll(
    async () => {
      notification = await get(path, {}, signal);
      draw();
    },
    () => (isOpen() ? ONE_S : ONE_S * 5),
    signal,
    (error) => shell.showAway(error?.status === 0),
  );
}

function factsOf(notification) {
  return facts([
    [t("title"), notification.title],
    [t("message"), h("span", { className: "message-text" }, notification.message)],
    [t("type"), typePill(notification.type)],
    [t("template"), notification.template],
    [t("params"), notification.params && json(notification.params)],
    // A link from outside is shown, and is none: it is for the pages of the customers.
    [t("link"), notification.action_url && h("code", {}, notification.action_url)],
    [t("auto_close"), t(notification.auto_close ? "yes" : "no")],
    [t("recipients"), h("code", {}, shortJson(notification.recipients, 1000))],
    [t("sender"), notification.sender && userLink(notification.sender)],
    [t("created"), at(notification.created_at)],
    [t("expires"), when(notification.expires_at)],
  ]);
}

function deliveryColumns() {
  return [
    {
      key: "user",
      label: t("user"),
      value: (row) => row.user_id,
      cell: (row) => userLink(row.user_id),
    },
    {
      key: "channel",
      label: t("channel"),
      value: (row) => row.channel,
      cell: (row) => [
        row.channel,
        row.is_escalation ? h("small", {}, ` ${t("escalation")}`) : null,
      ],
    },
    {
      key: "state",
      label: t("state"),
      value: (row) => stateName(row.state),
      cell: (row) => pill(stateName(row.state), STATES[row.state] ?? ""),
    },
    {
      key: "attempts",
      label: t("attempts"),
      value: (row) => row.attempts.map(({ detail }) => detail).join(" "),
      cell: attemptsCell,
      isFree: true,
    },
    {
      key: "next",
      label: t("next_attempt"),
      value: (row) => row.next_attempt_at,
      cell: (row) => when(row.next_attempt_at),
    },
  ];
}

function attemptsCell({ attempts }) {
  if (!attempts.length) return "–";
  const line = ({ at: time, outcome, detail }) => {
    const name = t.has(`outcome_${outcome}`) ? t(`outcome_${outcome}`) : outcome;
    return h(
      "li",
      {},
      at(time),
      ` ${name}`,
      detail ? h("span", { className: "hint" }, ` · ${detail}`) : null,
    );
  };
  return h("ol", { className: "attempts" }, attempts.map(line));
}

export function stateName(state) {
  return t.has(`state_${state}`) ? t(`state_${state}`) : state;
}

function statesCell(states, only = null) {
  const shown = Object.entries(states).filter(([state, n]) => n && (!only || only.includes(state)));
  if (!shown.length) return "–";
  return h(
    "span",
    { className: "pills" },
    shown.map(([state, n]) => pill(`${count(n)} ${stateName(state)}`, STATES[state] ?? "")),
  );
}
