/** Answer: one message that grows, with its speed, pauses and who watched; while it grows, live. */

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
  sessionLink,
  traceLink,
  userLink,
} from "../parts/blocks.js";
import { confirmAction } from "../parts/dialog.js";
import { h, setText, update } from "../parts/dom.js";
import { count, ms, number } from "../parts/format.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { toast } from "../parts/toasts.js";
import { t } from "./conversation_texts.js";

export const ANSWER_KINDS = {
  ...{ growing: "info", completed: "success", failed: "error" },
  ...{ cancelled: "warning", interrupted: "warning" },
};
const GROWING_S = 1;

export async function show({ root, id: messageId, signal, account, shell, has }) {
  const path = `/answers/${id(messageId ?? "")}`;
  let answer = await get(path, {}, signal);
  const state = h("span", { role: "status" });
  const actions = [];
  const cancel = button(t("cancel"), () => cancelAnswer(), "quiet danger");
  if (account.may("messages:publish")) actions.push(cancel);
  const [what, story, usage] = [h("div"), h("div", { className: "fields" }), h("div")];
  const text = h("p", { className: "message-text answer-text" });
  root.append(
    heading(t("answer"), {
      back: { href: pathTo("sessions", answer.session_id), label: answer.session_id },
      beside: [copyable(messageId), state],
      actions,
    }),
    h(
      "div",
      { className: "columns" },
      panel(t("answer"), what),
      panel(t("stalls"), story),
      panel(t("watchers"), usage),
    ),
    panel(t("text"), text),
  );

  async function cancelAnswer() {
    const result = await confirmAction({
      title: t("cancel_title"),
      confirm: t("cancel"),
      isDanger: true,
      preview: () => h("p", {}, t("cancel_preview", { length: count(answer.length) })),
      act: () => post(`${path}/cancel`),
    });
    if (!result) return;
    toast(t("cancelled"), { kind: "success" });
    reload();
  }

  function draw() {
    update(state, answerPill(answer.state));
    cancel.disabled = answer.state !== "growing";
    update(what, factsOf(answer, has("trace")));
    update(story, stalls(answer.stalls));
    update(
      usage,
      watchers(answer.watchers),
      answer.usage ? [h("h3", {}, t("usage")), json(answer.usage)] : null,
    );
    setText(text, answer.content);
  }

  draw();
  const reload = poll(
    async () => {
      answer = await get(path, {}, signal);
      draw();
    },
    () => (answer.state === "growing" ? GROWING_S : Infinity),
    signal,
    (error) => shell.showAway(error?.status === 0),
  );
}

export function answerPill(state) {
  const name = t.has(`answer_${state}`) ? t(`answer_${state}`) : state;
  return pill(name, ANSWER_KINDS[state] ?? "");
}

function factsOf(answer, hasTrace) {
  const began = Date.parse(answer.started_at);
  const since = (time) =>
    time
      ? [
          at(time),
          h(
            "span",
            { className: "hint" },
            ` ${t("after", { time: ms(Date.parse(time) - began) })}`,
          ),
        ]
      : null;
  return facts([
    [t("session"), sessionLink(answer.session_id)],
    [t("reason"), answer.reason],
    [t("length"), count(answer.length)],
    [t("appends"), count(answer.seq)],
    [t("rate"), answer.rate === null ? null : t("rate_shown", { n: number(answer.rate) })],
    [t("term"), count(answer.term)],
    [t("started"), at(answer.started_at)],
    [t("first_text"), since(answer.first_text_at)],
    [t("ended"), since(answer.ended_at)],
    [t("trace"), hasTrace ? traceLink(answer.message_id) : null],
  ]);
}

function stalls(list) {
  if (!list.length) return h("p", { className: "hint" }, t("no_stalls"));
  return h(
    "ol",
    { className: "listed" },
    list.map((each) => h("li", {}, at(each.at), " ", h("b", {}, ms(each.ms)))),
  );
}

function watchers(list) {
  if (!list.length) return h("p", { className: "hint" }, t("no_watchers"));
  const line = (each) =>
    h(
      "li",
      {},
      userLink(each.user_id),
      " ",
      at(each.from),
      each.until ? [" – ", at(each.until)] : null,
    );
  return h("ul", { className: "listed" }, list.map(line));
}
