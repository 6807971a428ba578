/** Accounts of messengers: all, or one with what was not sent to its contacts. */

import { get, id, post } from "/static/console/parts/api.js";
import {
  at,
  button,
  facts,
  heading,
  panel,
  pill,
  sessionLink,
  traceLink,
  userLink,
  when,
} from "/static/console/parts/blocks.js";
import { confirmAction } from "/static/console/parts/dialog.js";
import { fill, h } from "/static/console/parts/dom.js";
import { count } from "/static/console/parts/format.js";
import { showTable } from "/static/console/parts/plain_table.js";
import { poll } from "/static/console/parts/polling.js";
import { pathTo } from "/static/console/parts/router.js";
import { toast } from "/static/console/parts/toasts.js";
import { t } from "./texts.js";

const EVERY_S = 5;
const KINDS = {
  __proto__: null,
  online: "success",
  offline: "error",
  login_failed: "error",
  reconnecting: "warning",
};

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

async function showAll({ root, signal, shell }) {
  const place = h("section", { className: "panel table-panel" });
  root.append(heading(t("accounts")), h("p", { className: "hint" }, t("hint")), place);
  const columns = [
    {
      label: t("account"),
      cell: (row) => h("a", { href: pathTo("accounts", row.account) }, row.account),
    },
    { label: t("kind"), cell: (row) => row.kind, isWide: true },
    { label: t("status"), cell: (row) => statusPill(row.status) },
    { label: t("pending"), cell: (row) => count(row.pending), isNumber: true },
    { label: t("failed"), cell: failedOf, isNumber: true },
    { label: t("sent"), cell: (row) => count(row.sent), isNumber: true, isWide: true },
    { label: t("last_sent"), cell: (row) => when(row.last_sent_at), isWide: true },
    { label: t("organization"), cell: (row) => row.organization_id, isWide: true },
  ];
  await kept(signal, shell, async () => {
    const { accounts } = await get("/accounts", {}, signal);
    showTable(place, t("accounts"), columns, accounts, t("none"));
  });
}

async function showOne({ root, id: name, signal, account, shell, has }) {
  const path = `/accounts/${id(name)}`;
  let shown = await get(path, {}, signal);
  const [state, what, unsent] = [h("span", { role: "status" }), h("div"), h("div")];
  const again = button(t("retry"), async () => (await retry(shown)) && reload());
  root.append(
    heading(name, {
      back: { href: pathTo("accounts"), label: t("accounts") },
      beside: [state],
      actions: account.may("accounts:manage") ? [again] : [],
    }),
    panel(t("account"), what),
    panel(t("unsent"), unsent),
  );
  const columns = [
    { label: t("contact"), cell: (row) => row.contact },
    { label: t("session"), cell: (row) => sessionLink(row.session_id), isWide: true },
    {
      label: t("message"),
      cell: (row) => (has("trace") ? traceLink(row.message_id) : row.message_id),
      isWide: true,
    },
    { label: t("from"), cell: (row) => row.sender && userLink(row.sender), isWide: true },
    { label: t("written"), cell: (row) => at(row.at), isWide: true },
    {
      label: t("state"),
      cell: (row) => pill(t(`state_${row.state}`), row.state === "failed" ? "error" : ""),
    },
    { label: t("attempts"), cell: (row) => count(row.attempts), isNumber: true, isWide: true },
    { label: t("next"), cell: (row) => row.due_at && when(row.due_at), isWide: true },
    { label: t("error"), cell: (row) => row.detail, isFree: true },
  ];

  function draw() {
    fill(state, statusPill(shown.status));
    again.disabled = shown.failed === 0;
    fill(
      what,
      facts([
        [t("kind"), shown.kind],
        [t("organization"), shown.organization_id],
        [t("pending"), count(shown.pending)],
        [t("failed"), failedOf(shown)],
        [t("sent"), count(shown.sent)],
        [t("last_sent"), shown.last_sent_at && when(shown.last_sent_at)],
        [t("rate"), t("per_minute", { n: count(shown.rate_per_minute) })],
        [t("members"), shown.members.map((each, n) => [n ? ", " : "", userLink(each)])],
        [t("holder"), shown.default_holder],
      ]),
    );
    showTable(unsent, t("unsent"), columns, shown.unsent, t("all_sent"));
  }

  draw();
  const reload = poller(signal, shell, async () => {
    shown = await get(path, {}, signal);
    draw();
  });
}

async function retry({ account, failed }) {
  const result = await confirmAction({
    title: t("retry_title"),
    confirm: t("retry"),
    preview: () => h("p", {}, t("retry_preview", { account, n: count(failed) })),
    act: () => post(`/accounts/${id(account)}/retry`),
  });
  if (result) toast(t("retried", { n: count(result.retried) }), { kind: "success" });
  return result !== null;
}

const failedOf = ({ failed }) => (failed ? pill(count(failed), "error") : count(failed));

function statusPill(status) {
  const name = t.has(`status_${status}`) ? t(`status_${status}`) : status;
  return pill(name, KINDS[status] ?? "");
}

async function kept(signal, shell, load) {
  await load();
  poller(signal, shell, load);
}

const poller = (signal, shell, load) =>
  poll(load, EVERY_S, signal, (error) => shell.showAway(error?.status === 0));
