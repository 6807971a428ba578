/** The columns of tables of connections. */

import { connectionLink, pill, sessionLink, userLink, when } from "../parts/blocks.js";
import { h } from "../parts/dom.js";
import { bytes, ms } from "../parts/format.js";
import { programOf } from "../parts/user_agent.js";
import { t } from "./list_texts.js";

/** The columns; `without`: keys of those that would be the same in all rows. */
export function connectionColumns(without = []) {
  const columns = [
    {
      key: "user",
      label: t("user"),
      value: (row) => [row.user_id, row.metadata.username].filter(Boolean).join(" "),
      cell: (row) => userLink(row.user_id, row.metadata.username),
    },
    {
      key: "state",
      label: t("state"),
      value: (row) => stateOf(row),
      cell: (row) => statePill(row),
    },
    {
      key: "id",
      label: t("connection"),
      value: (row) => row.connection_id,
      cell: (row) => connectionLink(row.connection_id),
    },
    {
      key: "sessions",
      label: t("sessions"),
      value: (row) => row.sessions.join(" "),
      cell: (row) => sessionsCell(row.sessions),
    },
    {
      key: "connected",
      label: t("connected"),
      value: (row) => row.connected_at,
      cell: (row) => when(row.connected_at),
    },
    {
      key: "rtt",
      label: t("round_trip"),
      value: (row) => row.rtt_ms,
      cell: (row) => ms(row.rtt_ms),
      isNumber: true,
    },
    {
      key: "queued",
      label: t("queued"),
      value: (row) => row.queued_bytes,
      cell: (row) => bytes(row.queued_bytes),
      isNumber: true,
    },
    {
      key: "client",
      label: t("client"),
      value: (row) => row.user_agent,
      cell: (row) =>
        h("span", { className: "clip", title: row.user_agent }, programOf(row.user_agent) || "–"),
      isWide: true,
    },
    { key: "address", label: t("address"), value: (row) => row.remote_ip },
    {
      key: "endpoint",
      label: t("endpoint"),
      value: (row) => row.endpoint,
      cell: (row) => endpointName(row.endpoint),
      isWide: true,
    },
    { key: "role", label: t("role"), value: (row) => row.metadata.role, isWide: true },
    {
      key: "organization",
      label: t("organization"),
      value: (row) => row.metadata.organization_id,
      isWide: true,
    },
    { key: "node", label: t("node"), value: (row) => row.node, isWide: true },
  ];
  return columns.filter(({ key }) => !without.includes(key));
}

export function statePill(row) {
  return pill(stateOf(row), row.is_alive ? "success" : "warning");
}

export function endpointName(endpoint) {
  return t.has(`endpoint_${endpoint}`) ? t(`endpoint_${endpoint}`) : endpoint;
}

function stateOf(row) {
  return t(row.is_alive ? "alive" : "silent");
}

function sessionsCell(sessions) {
  if (!sessions.length) return "–";
  const more = sessions.length > 1 ? ` ${t("more", { n: sessions.length - 1 })}` : "";
  return [
    sessionLink(sessions[0]),
    h("span", { className: "hint", title: sessions.join("\n") }, more),
  ];
}
