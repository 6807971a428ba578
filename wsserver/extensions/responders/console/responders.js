/** AI responders: all, or one with its queue and its latest failures. */

import { get, id } from "/static/console/parts/api.js";
import { at, facts, heading, panel, pill, sessionLink, userLink, when } from "/static/console/parts/blocks.js";
import { fill, h } from "/static/console/parts/dom.js";
import { count } from "/static/console/parts/format.js";
import { showTable } from "/static/console/parts/plain_table.js";
import { poll } from "/static/console/parts/polling.js";
import { pathTo } from "/static/console/parts/router.js";
import { t } from "./texts.js";

const EVERY_S = 5;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

async function showAll({ root, signal, shell }) {
  const place = h("section", { className: "panel table-panel" });
  root.append(heading(t("responders")), h("p", { className: "hint" }, t("hint")), place);
  const columns = [
    {
      label: t("responder"),
      cell: (row) => h("a", { href: pathTo("responders", row.responder) }, row.responder),
    },
    { label: t("state"), cell: statePill },
    { label: t("kind"), cell: (row) => row.kind, isWide: true },
    { label: t("model"), cell: (row) => row.model, isWide: true },
    { label: t("due"), cell: (row) => count(row.due), isNumber: true },
    { label: t("failing"), cell: (row) => count(row.failing), isNumber: true },
    { label: t("waiting"), cell: (row) => when(row.waiting_since), isWide: true },
    { label: t("held"), cell: heldLink, isWide: true },
  ];
  const load = async () => {
    const { responders } = await get("/responders", {}, signal);
    showTable(place, t("responders"), columns, responders, t("none"));
  };
  await load();
  poll(load, EVERY_S, signal, (error) => shell.showAway(error?.status === 0));
}

async function showOne({ root, id: name, signal, shell }) {
  const path = `/responders/${id(name)}`;
  const [state, what, queue, failures] = [
    h("span", { role: "status" }),
    h("div"),
    h("div"),
    h("div"),
  ];
  root.append(
    heading(name, {
      back: { href: pathTo("responders"), label: t("responders") },
      beside: [state],
    }),
    panel(t("responder"), what),
    panel(t("queue"), queue),
    panel(t("failures"), failures),
  );
  const turns = [
    { label: t("session"), cell: (row) => sessionLink(row.session_id) },
    { label: t("since"), cell: (row) => when(row.since) },
    {
      label: t("state"),
      cell: (row) => pill(t(row.is_answering ? "turn_answering" : "turn_waiting")),
    },
    { label: t("attempts"), cell: (row) => count(row.failures), isNumber: true },
  ];
  const failed = [
    { label: t("time"), cell: (row) => at(row.at) },
    { label: t("session"), cell: (row) => sessionLink(row.session_id) },
    { label: t("reason"), cell: (row) => row.reason, isFree: true },
  ];

  async function load() {
    const shown = await get(path, {}, signal);
    fill(state, statePill(shown));
    fill(
      what,
      facts([
        [t("kind"), shown.kind],
        [t("model"), shown.model],
        [t("sender"), userLink(shown.sender.user_id, shown.sender.username)],
        [t("held"), heldLink(shown)],
        [t("due"), count(shown.due)],
        [t("waiting"), shown.waiting_since && when(shown.waiting_since)],
        [t("concurrency"), t("each_process", { n: count(shown.concurrency) })],
        [t("on_interrupt"), t(`interrupt_${shown.on_interrupt}`)],
        [t("unit"), shown.unit],
      ]),
    );
    showTable(queue, t("queue"), turns, shown.queue, t("queue_empty"));
    showTable(failures, t("failures"), failed, shown.failures, t("no_failures"));
  }

  await load();
  poll(load, EVERY_S, signal, (error) => shell.showAway(error?.status === 0));
}

const heldLink = ({ responder }) =>
  h("a", { href: `${pathTo("sessions")}?holder=${id(`ai:${responder}`)}` }, t("show_held"));

function statePill({ due, failing }) {
  if (failing > 0) return pill(t("state_failing"), "error");
  return due > 0 ? pill(t("state_answering"), "info") : pill(t("state_idle"), "success");
}
