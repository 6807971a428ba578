/** Webhooks: events that wait for a webhook or were given up, or one of them with its body. */

import { get, id, post } from "../parts/api.js";
import { at, button, copyable, facts, heading, json, panel, pill, when } from "../parts/blocks.js";
import { CursorTable } from "../parts/cursor_table.js";
import { confirmAction } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { count } from "../parts/format.js";
import { pathTo } from "../parts/router.js";
import { toast } from "../parts/toasts.js";
import { STATES, stateName } from "./notifications.js";
import { t } from "./record_texts.js";

const PATH = "/webhooks/deliveries";

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

function showAll({ root, query, signal, router, shell }) {
  const table = new CursorTable({
    label: t("webhooks"),
    path: PATH,
    name: "deliveries",
    columns: [
      { label: t("created"), value: (row) => at(row.created_at) },
      {
        label: t("event"),
        isTitle: true,
        value: (row) => h("a", { href: pathTo("webhooks", row.delivery_id) }, row.event),
      },
      { label: t("state"), value: (row) => pill(stateName(row.state), STATES[row.state] ?? "") },
      { label: t("host"), value: (row) => row.host },
      { label: t("attempts"), value: (row) => count(row.attempts), isNumber: true },
      { label: t("detail"), value: (row) => row.detail, isFree: true },
      { label: t("next_attempt"), value: (row) => when(row.next_attempt_at), isWide: true },
    ],
    filters: [
      {
        name: "state",
        label: t("every_state"),
        options: ["pending", "failed"].map((each) => [each, stateName(each)]),
      },
      { name: "event", label: t("event") },
    ],
    empty: t("no_webhooks"),
    query,
    router,
    signal,
    shell,
  });
  const retry = async () => {
    const result = await confirmAction({
      title: t("retry_all_title"),
      confirm: t("retry"),
      preview: async () =>
        h(
          "p",
          {},
          t("failed_now", { n: count((await get(PATH, { state: "failed", limit: 1 })).total) }),
        ),
      act: () => post(`${PATH}/retry`),
    });
    if (!result) return;
    toast(t("retried", { n: count(result.retried) }), { kind: "success" });
    table.reload();
  };
  root.append(
    heading(t("webhooks"), { actions: [button(t("retry_all"), retry)] }),
    h("p", { className: "hint" }, t("webhooks_hint")),
    table.element,
  );
  table.start();
}

async function showOne({ root, id: deliveryId, signal }) {
  const path = `${PATH}/${id(deliveryId)}`;
  let delivery = await get(path, {}, signal);
  const [what, body] = [h("div"), h("div")];
  const retry = button(t("retry"), async () => {
    const result = await confirmAction({
      title: t("retry_one_title"),
      confirm: t("retry"),
      preview: () =>
        facts([
          [t("event"), delivery.event],
          [t("host"), delivery.host],
          [t("detail"), delivery.detail],
        ]),
      act: () => post(`${path}/retry`),
    });
    if (!result) return;
    toast(t("retried", { n: count(result.retried) }), { kind: "success" });
    delivery = await get(path, {}, signal).catch(() => delivery); // gone once it is delivered
    draw();
  });
  root.append(
    heading(t("webhook"), {
      back: { href: pathTo("webhooks"), label: t("webhooks") },
      beside: [copyable(deliveryId)],
      actions: [retry],
    }),
    h("div", { className: "columns" }, panel(delivery.event, what), panel(t("body"), body)),
  );

  function draw() {
    retry.disabled = delivery.state !== "failed";
    fill(
      what,
      facts([
        [t("state"), pill(stateName(delivery.state), STATES[delivery.state] ?? "")],
        [t("host"), delivery.host],
        [
          t("url_number"),
          delivery.webhook === null ? t("url_gone") : t("url_nth", { n: delivery.webhook }),
        ],
        [t("attempts"), count(delivery.attempts)],
        [t("detail"), delivery.detail],
        [t("created"), at(delivery.created_at)],
        [t("next_attempt"), delivery.next_attempt_at && when(delivery.next_attempt_at)],
      ]),
    );
    fill(body, json(delivery.body));
  }

  draw();
}
