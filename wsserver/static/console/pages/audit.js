/** Audit: who did what, newest first. */

import { at, connectionLink, heading, pill, sessionLink, userLink } from "../parts/blocks.js";
import { CursorTable } from "../parts/cursor_table.js";
import { h } from "../parts/dom.js";
import { shortJson } from "../parts/format.js";
import { pathTo } from "../parts/router.js";
import { t } from "./record_texts.js";

const ACTIONS = [
  ...["answer", "answer_cancel", "batch", "broadcast", "cancel_notification"],
  ...["chaos", "chaos_end", "console_sign_in", "console_sign_out", "contacts"],
  ...["create_task", "delete_file", "delete_message", "delete_quota", "disconnect"],
  ...["drain", "edit_message", "erase", "export_user_data", "holder"],
  ...["members", "notify", "preferences", "publish", "record"],
  ...["record_stop", "report_usage", "retry_account", "retry_notification", "retry_webhooks"],
  ...["revoke", "session", "set_quota", "update_task"],
];
const LONG = 160;
const LINKS = {
  user: (value) => userLink(value),
  session: (value) => sessionLink(value),
  connection: (value) => connectionLink(value),
  message: (value) => h("a", { href: pathTo("trace", value) }, value),
  notification: (value) => h("a", { href: pathTo("notifications", value) }, value),
};

export function show({ root, query, signal, router, shell }) {
  const table = new CursorTable({
    label: t("audit"),
    path: "/audit",
    name: "entries",
    columns: [
      { label: t("time"), value: (row) => at(row.at) },
      { label: t("actor"), value: (row) => [userLink(row.actor), h("small", {}, ` ${row.role}`)] },
      { label: t("action"), value: (row) => row.action, isTitle: true },
      { label: t("target"), value: (row) => targetLink(row.target) },
      {
        label: t("outcome"),
        value: (row) => pill(row.outcome, row.outcome === "ok" ? "success" : "error"),
      },
      { label: t("details"), value: detailsCell, isFree: true, isWide: true },
      { label: t("address"), value: (row) => row.remote_ip, isWide: true },
      { label: t("request"), value: (row) => h("code", {}, row.request_id), isWide: true },
    ],
    filters: [
      { name: "actor", label: t("actor") },
      { name: "action", label: t("action"), suggestions: ACTIONS },
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
  root.append(heading(t("audit")), table.element);
  table.start();
}

/** `user:u1`, also `user:u1 and 4 more`, with a link to the page of the first one. */
function targetLink(target) {
  const [, type, value, rest] = /^([a-z_]+):(\S+)(.*)$/.exec(target) ?? [];
  const link = LINKS[type];
  return link ? [h("span", { className: "hint" }, `${type} `), link(value), rest] : target;
}

function detailsCell({ detail }) {
  const parts = Object.entries(detail)
    .filter(([, value]) => value !== null && value !== "" && String(value) !== "")
    .map(([name, value]) => {
      const link = typeof value === "string" && LINKS[name.replace(/_id$/, "")];
      return [h("span", { className: "hint" }, `${name}=`), link ? link(value) : shown(value), " "];
    });
  return parts.length ? parts : "–";
}

function shown(value) {
  return shortJson(Array.isArray(value) ? value.join(", ") : value, LONG);
}
