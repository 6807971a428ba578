/** Actions on connections, users, sessions and nodes: preview, confirmation, outcome. */

import { t } from "./action_texts.js";
import { get, id, loadAll, post, request } from "./api.js";
import { confirmAction, openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { wordsOf } from "./forms.js";
import { count, ms } from "./format.js";
import { toast } from "./toasts.js";

const LISTED = 12;
const PING_S = 5;

/** Close all connections of a user, or one of them; resolves once it is done or called off. */
export async function disconnect(userId, connectionId = null) {
  const result = await confirmAction({
    title: connectionId ? t("disconnect_connection") : t("disconnect_user", { user: userId }),
    confirm: t("disconnect"),
    isDanger: true,
    fields: [reasonField()],
    preview: async () => {
      const rows = (await connectionsOf(userId)).filter(
        (row) => !connectionId || row.connection_id === connectionId,
      );
      if (!rows.length) return h("p", {}, t("nothing_open"));
      return [
        h("p", {}, t("disconnect_preview")),
        listed(rows),
        h("p", { className: "hint" }, t("disconnect_hint")),
      ];
    },
    act: (form) => {
      const body = { user_id: userId };
      if (connectionId) body.connection_id = connectionId;
      if (form.get("reason")) body.reason = form.get("reason");
      return post("/users/disconnect", body);
    },
  });
  if (result) toast(t("disconnected", { n: count(result.disconnected) }), { kind: "success" });
  return result !== null;
}

/** Revoke all tokens of a user. */
export async function revoke(userId) {
  const result = await confirmAction({
    title: t("revoke_user", { user: userId }),
    confirm: t("revoke"),
    isDanger: true,
    preview: async () => [
      h("p", {}, t("revoke_preview", { user: userId })),
      h("p", {}, t("revoke_closes", { n: count((await connectionsOf(userId)).length) })),
    ],
    act: () => post("/tokens/revoke", { user_id: userId }),
  });
  if (result) toast(t("revoked", { n: count(result.disconnected) }), { kind: "success" });
  return result !== null;
}

/** Ping all connections of a user, and show the round trips. */
export async function ping(userId) {
  const body = h("div", { "aria-live": "polite" }, h("p", { className: "hint" }, t("pinging")));
  openDialog({ title: t("ping_user", { user: userId }), content: body });
  try {
    const { connections } = await post(`/ping/${id(userId)}`, { timeout_s: PING_S });
    if (!connections.length) return fill(body, h("p", {}, t("ping_offline")));
    const rows = connections.map((each) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", className: "mono" }, each.connection_id),
        h(
          "td",
          { className: "number" },
          each.alive ? ms(each.rtt_ms) : h("b", { className: "problem" }, t("no_answer")),
        ),
      ),
    );
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, t("connection")),
      h("th", { scope: "col", className: "number" }, t("round_trip")),
    );
    fill(body, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
  } catch (error) {
    fill(body, h("p", { className: "problem" }, error.message));
  }
}

/** Drain a node, as SIGTERM does. */
export async function drain(node, connections) {
  const result = await confirmAction({
    title: t("drain_node", { node }),
    confirm: t("drain"),
    isDanger: true,
    preview: () => h("p", {}, t("drain_preview", { n: count(connections) })),
    act: () => post(`/nodes/${id(node)}/drain`),
  });
  if (!result) return false;
  const [text, kind] = result.draining ? ["draining", "success"] : ["not_draining", "error"];
  toast(t(text, { node }), { kind });
  return true;
}

/** Change the member list of a session; shows who is added and removed before. */
export async function editMembers(sessionId) {
  let present = [];
  const field = h("textarea", { name: "members", rows: 8, spellcheck: false, id: "members" });
  const change = h("p", { className: "hint", role: "status" }, t("members_same"));
  field.addEventListener("input", () => {
    const wanted = wordsOf(field.value);
    const added = wanted.filter((each) => !present.includes(each));
    const removed = present.filter((each) => !wanted.includes(each));
    const shown = (list) => list.join(", ") || t("none");
    change.textContent =
      added.length + removed.length
        ? t("members_change", { added: shown(added), removed: shown(removed) })
        : t("members_same");
  });
  const path = `/sessions/${id(sessionId)}/members`;
  const result = await confirmAction({
    title: t("members_of", { session: sessionId }),
    confirm: t("save"),
    fields: [h("label", { htmlFor: field.id }, t("members_hint")), field, change],
    preview: async () => {
      present = (await get(path)).user_ids;
      field.value = present.join("\n");
      return [];
    },
    act: (form) => request("PUT", path, { body: { user_ids: wordsOf(form.get("members")) } }),
  });
  if (result) toast(t("saved"), { kind: "success" });
  return result !== null;
}

async function connectionsOf(userId) {
  return (await loadAll(`/users/${id(userId)}/connections`, "connections", {})).rows;
}

function listed(rows) {
  const lines = rows
    .slice(0, LISTED)
    .map((row) =>
      h(
        "li",
        {},
        h("code", {}, row.connection_id),
        ` ${row.endpoint} · ${row.remote_ip} · ${row.user_agent || "–"}`,
      ),
    );
  if (rows.length > LISTED) lines.push(h("li", {}, `… ${count(rows.length)}`));
  return h("ul", { className: "listed" }, lines);
}

function reasonField() {
  const field = h("input", { name: "reason", id: "reason", maxLength: 100 });
  return h("div", { className: "field" }, h("label", { htmlFor: field.id }, t("reason")), field);
}
