/** Trace: where a message went, from its id. */

import { get, id } from "../parts/api.js";
import {
  at,
  connectionLink,
  copyable,
  facts,
  heading,
  missing,
  panel,
  pill,
  sessionLink,
  userLink,
} from "../parts/blocks.js";
import { fill, h } from "../parts/dom.js";
import { input, labelled } from "../parts/forms.js";
import { count, ms } from "../parts/format.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { DataTable } from "../parts/table.js";
import { t } from "./trace_texts.js";

const STATES = {
  pending: "warning",
  sent: "info",
  delivered: "success",
  read: "success",
  dropped: "error",
  expired: "error",
};
const AGAIN_S = 2;

export function show(context) {
  return context.id === null ? ask(context) : showOne(context);
}

function ask({ root, router }) {
  const field = input("message", {
    required: true,
    maxLength: 128,
    pattern: "[A-Za-z0-9._:@\\-]+",
    className: "mono",
  });
  const form = h(
    "form",
    { className: "panel fields" },
    labelled(t("message_id"), field),
    h("div", {}, h("button", { type: "submit" }, t("show"))),
    h("p", { className: "hint" }, t("hint")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    router.go(pathTo("trace", field.value.trim()));
  });
  root.append(heading(t("trace")), form);
  field.focus();
}

async function showOne({ root, id: messageId, query, signal, router, shell }) {
  let userId = query.get("user");
  const read = () => get(`/messages/${id(messageId)}`, { user_id: userId }, signal);
  let trace;
  try {
    trace = await read();
  } catch (error) {
    if (error.status !== 404) throw error;
    root.append(
      heading(t("trace"), { back: { href: pathTo("trace"), label: t("trace") } }),
      h("p", { className: "problem" }, t("not_known", { id: messageId })),
    );
    return;
  }
  const only = input("user", {
    type: "search",
    value: userId ?? "",
    placeholder: t("only_user"),
    "aria-label": t("only_user"),
    maxLength: 128,
  });
  only.addEventListener("change", () => {
    userId = only.value.trim() || null;
    router.setQuery({ user: userId });
    reload();
  });
  const table = new DataTable({
    label: t("recipients"),
    columns: columns(trace),
    keyOf: (row) => `${row.user_id} ${row.connection_id ?? ""}`,
    sort: "user",
    file: "trace",
    empty: t("no_recipients"),
    filters: [only],
    router,
    query,
  });
  const note = h("div", { className: "note" });
  const [origin, summary] = [h("div"), h("div", { className: "summary" })];
  root.append(
    heading(t("trace"), {
      back: { href: pathTo("trace"), label: t("trace") },
      beside: [copyable(messageId)],
    }),
    note,
    h("div", { className: "columns" }, panel(trace.type, origin), panel(t("recipients"), summary)),
    table.element,
  );

  function draw() {
    fill(
      note,
      missing(trace.unreachable),
      trace.truncated ? h("p", { className: "hint" }, t("truncated")) : null,
    );
    fill(origin, originOf(trace));
    fill(summary, summaryOf(trace.summary));
    table.set(trace.recipients);
  }

  const isOpen = () => trace.summary.pending + trace.summary.sent > 0;
  draw();
  const reload = poll(
    async () => {
      trace = await read();
      draw();
    },
    () => (isOpen() ? AGAIN_S : Infinity),
    signal,
    (error) => shell.showAway(error?.status === 0),
  );
}

function originOf(trace) {
  const { accepted_from: from, target } = trace;
  const targets = { session: sessionLink, user: userLink, connection: connectionLink };
  const link = target.id && targets[target.type];
  const sender = from?.user_id && from.via !== "server" ? userLink(from.user_id) : t("server");
  return facts([
    [t("class"), t(`class_${trace.class}`)],
    [t("target"), [`${target.type} `, link ? link(target.id) : (target.id ?? "")]],
    [t("accepted_at"), at(trace.accepted_at)],
    [
      t("accepted_from"),
      [
        sender,
        from?.role ? ` (${from.role})` : "",
        " ",
        h(
          "span",
          { className: "hint" },
          from ? t("via", { via: [from.via, from.id].filter(Boolean).join(" ") }) : "",
        ),
      ],
    ],
    [t("position"), trace.stream && `${trace.stream} #${trace.offset}`],
  ]);
}

function summaryOf(summary) {
  const { total, ...states } = summary;
  const figures = Object.entries(states).map(([state, n]) =>
    h(
      "li",
      { dataset: { kind: n ? (STATES[state] ?? "") : "" } },
      h("b", {}, count(n)),
      " ",
      stateName(state),
    ),
  );
  return h(
    "ul",
    { className: "figures" },
    h("li", {}, h("b", {}, count(total)), " ", t("total")),
    figures,
  );
}

function columns(trace) {
  const accepted = Date.parse(trace.accepted_at);
  return [
    {
      key: "user",
      label: t("user"),
      value: (row) => row.user_id,
      cell: (row) => userLink(row.user_id),
    },
    {
      key: "state",
      label: t("state"),
      value: (row) => stateName(row.state),
      cell: (row) => pill(stateName(row.state), STATES[row.state] ?? ""),
    },
    {
      key: "story",
      label: t("story"),
      value: (row) => row.history.map(({ state }) => stateName(state)).join(" "),
      cell: (row) => story(row.history, accepted),
      isFixed: true,
    },
    { key: "reason", label: t("reason"), value: (row) => row.reason },
    {
      key: "connection",
      label: t("connection"),
      value: (row) => row.connection_id,
      cell: (row) => (row.connection_id ? connectionLink(row.connection_id) : "–"),
      isWide: true,
    },
    { key: "node", label: t("node"), value: (row) => row.node, isWide: true },
  ].filter(({ key }) => key !== "node" || trace.recipients.some(({ node }) => node));
}

/** The states in their order, each with the time since the message was accepted. */
function story(history, accepted) {
  return h(
    "ol",
    { className: "story" },
    history.map(({ state, at: time }) => {
      const after = Math.max(0, Date.parse(time) - accepted);
      return h(
        "li",
        { dataset: { kind: STATES[state] ?? "" }, title: time },
        stateName(state),
        " ",
        h("small", {}, `+${ms(after)}`),
      );
    }),
  );
}

function stateName(state) {
  return t.has(`state_${state}`) ? t(`state_${state}`) : state;
}
