/** Users: those online, or one of them. */

import { disconnect, ping, revoke } from "../parts/actions.js";
import { t as act } from "../parts/action_texts.js";
import { get, id } from "../parts/api.js";
import {
  button,
  copyable,
  facts,
  heading,
  panel,
  pill,
  sessionLink,
  userLink,
  when,
} from "../parts/blocks.js";
import { fill, h } from "../parts/dom.js";
import { count, shortJson } from "../parts/format.js";
import { keepLoaded } from "../parts/list_loader.js";
import { dataTable } from "../parts/plain_table.js";
import { pathTo } from "../parts/router.js";
import { DataTable } from "../parts/table.js";
import { connectionColumns } from "./connection_columns.js";
import { holderOf, statePill } from "./conversation.js";
import { t as talk } from "./conversation_texts.js";
import { t } from "./list_texts.js";
import { t as preference } from "./preference_texts.js";
import { changePreferences, showPreferences } from "./user_preferences.js";

const NOTIFICATIONS = 10;
const CONVERSATIONS = 20;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

function showAll({ root, query, signal, account, router, shell }) {
  const columns = [
    {
      key: "user",
      label: t("user"),
      value: (row) => [row.user_id, row.metadata.username].filter(Boolean).join(" "),
      cell: (row) => userLink(row.user_id, row.metadata.username),
    },
    { key: "role", label: t("role"), value: (row) => row.metadata.role },
    {
      key: "organization",
      label: t("organization"),
      value: (row) => row.metadata.organization_id,
      isWide: true,
    },
    {
      key: "connections",
      label: t("connections"),
      value: (row) => row.connections,
      cell: (row) => count(row.connections),
      isNumber: true,
    },
    {
      key: "since",
      label: t("online_since"),
      value: (row) => row.online_since,
      cell: (row) => when(row.online_since),
    },
  ].filter(({ key }) => key !== "organization" || !account.isConfined);
  const table = new DataTable({
    label: t("users"),
    columns,
    keyOf: (row) => row.user_id,
    file: "users",
    router,
    query,
    filters: [finder(router)],
  });
  const note = h("div", { className: "note" });
  root.append(
    heading(t("users"), { actions: [button(t("refresh"), () => reload())] }),
    note,
    table.element,
  );
  const reload = keepLoaded({
    path: "/online-users",
    name: "users",
    isSearched: true,
    table,
    note,
    signal,
    shell,
  });
}

/** Enter in the search opens the user of that id, who may be offline. */
function finder(router) {
  const field = h("input", {
    placeholder: t("open_user"),
    "aria-label": t("open_user"),
    spellcheck: false,
    maxLength: 128,
    size: 28, // its placeholder fits
    required: true,
  });
  const form = h(
    "form",
    { className: "row" },
    field,
    h("button", { type: "submit", className: "quiet" }, t("open")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    router.go(pathTo("users", field.value.trim()));
  });
  return form;
}

async function showOne({ root, id: userId, query, signal, account, router, shell, has }) {
  const connections = `/users/${id(userId)}/connections`;
  await get(connections, { limit: 1 }, signal); // 404 outside of the organization
  const state = h("span", { role: "status" });
  const table = new DataTable({
    label: t("connections"),
    columns: connectionColumns(["user", "role", account.isConfined ? "organization" : null]),
    keyOf: (row) => row.connection_id,
    sort: "-connected",
    empty: t("no_connections"),
    router,
    query,
  });
  const note = h("div", { className: "note" });
  const actions = [button(act("ping"), () => ping(userId))];
  if (has("publish"))
    actions.push(link(`${pathTo("publish")}?target=user&id=${id(userId)}`, t("send_to")));
  if (has("notify")) actions.push(link(`${pathTo("notify")}?user=${id(userId)}`, t("notify")));
  if (account.may("connections:disconnect"))
    actions.push(
      button(act("disconnect"), async () => (await disconnect(userId)) && reload(), "quiet danger"),
    );
  if (account.may("tokens:revoke"))
    actions.push(
      button(act("revoke"), async () => (await revoke(userId)) && reload(), "quiet danger"),
    );
  const [who, contacts, preferences, notifications] = [h("div"), h("div"), h("div"), h("div")];
  const mayNotify = account.may("notifications:send") || account.identity.user_id === userId;
  const change = button(preference("change"), () => changePreferences(preferences, userId));
  const conversations = h("div");
  root.append(
    heading(t("user"), {
      back: { href: pathTo("users"), label: t("users") },
      beside: [copyable(userId), state],
      actions,
    }),
    note,
    table.element,
    account.may("messages:read") ? panel(talk("conversations"), conversations) : "",
    h(
      "div",
      { className: "columns" },
      panel(t("user"), who),
      account.may("notifications:send") ? panel(t("contacts"), contacts) : null,
      mayNotify ? panel(preference("preferences"), preferences, { actions: [change] }) : null,
      account.may("notifications:read") ? panel(t("notifications"), notifications) : null,
    ),
  );
  const showWho = (rows) => {
    fill(state, rows.length ? pill(t("online"), "success") : pill(t("offline")));
    const names = new Set(rows.map(({ metadata }) => metadata.username).filter(Boolean));
    const of = (name) =>
      [...new Set(rows.map(({ metadata }) => metadata[name]).filter(Boolean))].join(", ");
    fill(
      who,
      facts([
        [t("name"), [...names].join(", ")],
        [t("role"), of("role")],
        [t("organization"), of("organization_id")],
        [t("connections"), count(rows.length)],
      ]),
    );
  };
  const reload = keepLoaded({
    path: connections,
    name: "connections",
    table,
    note,
    signal,
    shell,
    onRows: showWho,
  });
  const load = (isAllowed, showIn, place) =>
    isAllowed && showIn(place, userId, signal, has).catch((error) => failed(place, error));
  await Promise.all([
    load(account.may("notifications:send"), showContacts, contacts),
    load(mayNotify, showPreferences, preferences),
    load(account.may("messages:read"), showConversations, conversations),
    load(account.may("notifications:read"), showNotifications, notifications),
  ]);
}

/** A part of the page that could not be read. */
function failed(place, error) {
  fill(place, h("p", { className: "hint" }, error.message));
}

async function showConversations(place, userId, signal) {
  let found;
  try {
    found = await get(`/users/${id(userId)}/conversations`, { limit: CONVERSATIONS }, signal);
  } catch (error) {
    if (error.status !== 404) throw error;
    return place.closest("section").remove(); // an older server, or a user outside
  }
  const columns = [
    {
      label: talk("session"),
      cell: (row) => sessionLink(row.session_id, row.title || row.session_id),
    },
    { label: talk("state"), cell: (row) => statePill(row.state) },
    { label: talk("holder"), cell: (row) => holderOf(row.holder) },
    { label: talk("unread"), cell: (row) => count(row.unread), isNumber: true },
    { label: talk("updated"), cell: (row) => row.updated_at && when(row.updated_at) },
    {
      label: talk("last_message"),
      cell: (row) => lastText(row.last_message),
      isFree: true,
      isWide: true,
    },
  ];
  const empty = talk("no_conversations");
  return fill(place, dataTable(talk("conversations"), columns, found.conversations, empty));
}

function lastText(message) {
  const content = message?.content;
  return content === undefined ? "–" : shortJson(content, 80);
}

async function showContacts(place, userId, signal) {
  const found = await get(`/users/${id(userId)}/contacts`, {}, signal);
  const quiet = found.quiet_hours;
  const list = facts([
    [t("organization"), found.organization_id],
    [t("email"), found.email],
    [t("phone"), found.phone],
    [t("push"), found.push.length ? count(found.push.length) : null],
    [t("locale"), found.locale],
    [t("quiet_hours"), quiet && `${quiet.start}–${quiet.end} ${quiet.time_zone}`],
  ]);
  fill(place, list.childElementCount ? list : h("p", { className: "hint" }, t("no_contacts")));
}

async function showNotifications(place, userId, signal, has) {
  const { notifications, total } = await get(
    "/notifications",
    { user_id: userId, limit: NOTIFICATIONS },
    signal,
  );
  if (!total) return fill(place, h("p", { className: "hint" }, t("no_notifications")));
  const lines = notifications.map((each) =>
    h(
      "li",
      {},
      has("notifications")
        ? h("a", { href: pathTo("notifications", each.notification_id) }, each.title)
        : each.title,
      " ",
      h("span", { className: "hint" }, when(each.created_at)),
    ),
  );
  const all =
    has("notifications") &&
    h(
      "a",
      { href: `${pathTo("notifications")}?user_id=${id(userId)}` },
      `${t("notifications")}: ${count(total)}`,
    );
  return fill(place, h("ul", { className: "listed" }, lines), all);
}

function link(href, label) {
  return h("a", { className: "button quiet", href }, label);
}
