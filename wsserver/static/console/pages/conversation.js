/** The conversation of a session: state, holder, take over, release, edit. */

import { id, post, request } from "../parts/api.js";
import { button, facts, json, pill, userLink, when } from "../parts/blocks.js";
import { confirmAction } from "../parts/dialog.js";
import { h } from "../parts/dom.js";
import { input, labelled, select } from "../parts/forms.js";
import { count } from "../parts/format.js";
import { toast } from "../parts/toasts.js";
import { t } from "./conversation_texts.js";

export const STATE_KINDS = { open: "success", pending: "warning", closed: "" };
const STATES = ["open", "pending", "closed"];

/** What is known about a session as a conversation. */
export function conversationFacts(session) {
  const hasMetadata = Object.keys(session.metadata ?? {}).length > 0;
  return facts([
    [t("title"), session.title],
    [t("state"), statePill(session.state)],
    [t("holder"), holderOf(session.holder)],
    [t("term"), count(session.term)],
    [t("organization"), session.organization_id],
    [t("created"), session.created_at && when(session.created_at)],
    [t("updated"), session.updated_at && when(session.updated_at)],
    [t("metadata"), hasMetadata ? json(session.metadata) : null],
  ]);
}

/** The actions on a session that the user may take; `current()` is the session as it is now. */
export function conversationActions(account, current, done) {
  if (!account.may("sessions:manage")) return [];
  const me = account.identity.user_id;
  return [
    button(t("take"), async () => (await take(current(), me)) && done()),
    button(t("release"), async () => (await give(current())) && done()),
    button(t("edit"), async () => (await edit(current())) && done()),
  ];
}

export function statePill(state) {
  const name = t.has(`state_${state}`) ? t(`state_${state}`) : state;
  return pill(name, STATE_KINDS[state] ?? "");
}

/** A holder as text or link. */
export function holderOf(holder) {
  if (!holder) return t("holder_none");
  return holder.type === "user" ? userLink(holder.id) : t("holder_ai", { id: holder.id });
}

async function take(session, me) {
  const result = await confirmAction({
    title: t("take_title", { session: session.session_id }),
    confirm: t("take"),
    preview: () => h("p", {}, t("take_preview", { holder: nameOf(session.holder) })),
    act: () => hold(session, { type: "user", id: me }),
  });
  if (result) toast(t("taken", { term: result.term }), { kind: "success" });
  return result !== null;
}

async function give(session) {
  const to = input("to", { maxLength: 128 });
  const kind = select("kind", [
    ["user", t("give_user")],
    ["ai", t("give_ai")],
  ]);
  const result = await confirmAction({
    title: t("release_title", { session: session.session_id }),
    confirm: t("release"),
    fields: [labelled(t("give_to"), to), labelled(t("give_kind"), kind)],
    preview: () => h("p", {}, t("release_preview", { holder: nameOf(session.holder) })),
    act: () => {
      const name = to.value.trim();
      return hold(session, name ? { type: kind.value, id: name } : null);
    },
  });
  if (result) toast(t("released", { term: result.term }), { kind: "success" });
  return result !== null;
}

async function edit(session) {
  const title = input("title", { maxLength: 200, value: session.title ?? "", spellcheck: true });
  const state = select(
    "state",
    STATES.map((each) => [each, t(`state_${each}`)]),
    session.state,
  );
  const result = await confirmAction({
    title: t("edit_title", { session: session.session_id }),
    confirm: t("save"),
    fields: [labelled(t("title"), title), labelled(t("state"), state)],
    preview: () => [],
    act: () => {
      const body = { title: title.value || null, state: state.value };
      return request("PATCH", `/sessions/${id(session.session_id)}`, { body });
    },
  });
  if (result) toast(t("saved"), { kind: "success" });
  return result !== null;
}

/** The term guards against a change that was not on the screen yet. */
function hold(session, holder) {
  const body = { holder, expected_term: session.term };
  return post(`/sessions/${id(session.session_id)}/holder`, body);
}

function nameOf(holder) {
  if (!holder) return t("holder_none");
  return holder.type === "user" ? holder.id : t("holder_ai", { id: holder.id });
}
