/** Connections: all open ones, or one of them. */

import { disconnect, ping } from "../parts/actions.js";
import { t as act } from "../parts/action_texts.js";
import { get, id } from "../parts/api.js";
import {
  button,
  copyable,
  facts,
  heading,
  panel,
  sessionLink,
  userLink,
  when,
} from "../parts/blocks.js";
import { h, update } from "../parts/dom.js";
import { bytes, ms } from "../parts/format.js";
import { keepLoaded } from "../parts/list_loader.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { DataTable } from "../parts/table.js";
import { connectionColumns, endpointName, statePill } from "./connection_columns.js";
import { t } from "./list_texts.js";

const ENDPOINTS = ["chat", "session", "monitor"];
const ONE_S = 3;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

async function showAll({ root, query, signal, account, router, shell }) {
  const { nodes } = await get("/nodes", {}, signal);
  const filters = {
    endpoint: query.get("endpoint"),
    node: query.get("node"),
    organization_id: query.get("organization_id"),
  };
  const choose = (name, value) => {
    filters[name] = value || null;
    router.setQuery({ [name]: value });
    reload();
  };
  const fields = [
    chooser(
      "endpoint",
      filters.endpoint,
      t("every_endpoint"),
      ENDPOINTS.map((each) => [each, endpointName(each)]),
      choose,
    ),
  ];
  if (nodes.length > 1 || filters.node) {
    fields.push(
      chooser(
        "node",
        filters.node,
        t("every_node"),
        nodes.map(({ node }) => [node, node]),
        choose,
      ),
    );
  }
  const without = [nodes.length > 1 ? null : "node", account.isConfined ? "organization" : null];
  const table = new DataTable({
    label: t("connections"),
    columns: connectionColumns(without),
    keyOf: (row) => row.connection_id,
    sort: "-connected",
    file: "connections",
    filters: fields,
    router,
    query,
  });
  const note = h("div", { className: "note" });
  root.append(
    heading(t("connections"), { actions: [button(t("refresh"), () => reload())] }),
    note,
    table.element,
  );
  const reload = keepLoaded({
    path: "/connections",
    name: "connections",
    isSearched: true,
    query: () => filters,
    table,
    note,
    signal,
    shell,
  });
}

async function showOne({ root, id: connectionId, signal, account, shell }) {
  const path = `/connections/${id(connectionId)}`;
  let connection = await get(path, {}, signal);
  let isGone = false;
  const state = h("span");
  const actions = [button(act("ping"), () => ping(connection.user_id))];
  if (account.may("connections:disconnect")) {
    const close = async () => (await disconnect(connection.user_id, connectionId)) && reload();
    actions.push(button(act("disconnect"), close, "quiet danger"));
  }
  const [left, right] = [h("div"), h("div")];
  root.append(
    heading(t("connection"), {
      back: { href: pathTo("connections"), label: t("connections") },
      beside: [copyable(connectionId), state],
      actions,
    }),
    h("div", { className: "columns" }, panel(t("user"), left), panel(t("connection"), right)),
  );

  function draw() {
    const { metadata } = connection;
    update(state, statePill(connection));
    update(
      left,
      facts([
        [t("user"), userLink(connection.user_id, metadata.username)],
        [t("role"), metadata.role],
        [t("organization"), metadata.organization_id],
        [t("sessions"), connection.sessions.map((each) => [sessionLink(each), " "])],
        [t("address"), connection.remote_ip],
        [t("client"), connection.user_agent],
      ]),
    );
    update(
      right,
      facts([
        [t("endpoint"), endpointName(connection.endpoint)],
        [t("protocol"), connection.protocol],
        [t("transport"), connection.transport],
        [t("node"), connection.node],
        [t("connected"), when(connection.connected_at)],
        [t("last_ping"), when(connection.last_ping)],
        [t("last_pong"), when(connection.last_pong)],
        [t("round_trip"), ms(connection.rtt_ms)],
        [t("queued"), bytes(connection.queued_bytes)],
      ]),
    );
  }

  async function load() {
    try {
      connection = await get(path, {}, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      isGone = true;
      update(state, h("span", { className: "pill", dataset: { kind: "error" } }, t("gone")));
      root.querySelectorAll(".actions button").forEach((each) => (each.disabled = true));
      return;
    }
    draw();
  }

  draw();
  const reload = poll(
    load,
    () => (isGone ? Infinity : ONE_S),
    signal,
    (error) => shell.showAway(error?.status === 0),
  );
}

/** A select that filters a list. */
export function chooser(name, chosen, every, options, choose) {
  const field = h(
    "select",
    { "aria-label": every, onchange: () => choose(name, field.value) },
    [["", every], ...options].map(([value, label]) =>
      h("option", { value, selected: value === (chosen ?? "") }, label),
    ),
  );
  return field;
}
