/** Sessions: the active ones, or one with its members, positions and history. */

import { editMembers } from "../parts/actions.js";
import { t as act } from "../parts/action_texts.js";
import { get, id } from "../parts/api.js";
import {
  button,
  copyable,
  facts,
  heading,
  missing,
  panel,
  sessionLink,
  userLink,
} from "../parts/blocks.js";
import { h, update } from "../parts/dom.js";
import { count } from "../parts/format.js";
import { keepLoaded } from "../parts/list_loader.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { DataTable } from "../parts/table.js";
import { conversationActions, conversationFacts, holderOf, statePill } from "./conversation.js";
import { chooser } from "./connections.js";
import { t as talk } from "./conversation_texts.js";
import { History } from "./session_history.js";
import { t } from "./list_texts.js";

const STATES = ["pending", "open", "closed"];
const ONE_S = 3;
const SHOWN_USERS = 3;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

function showAll({ root, query, signal, account, router, shell }) {
  const filters = { state: query.get("state"), holder: query.get("holder") };
  const choose = (name, value) => {
    filters[name] = value || null;
    router.setQuery({ [name]: value });
    reload();
  };
  const columns = [
    {
      key: "session",
      label: t("session"),
      value: (row) => `${row.session_id} ${row.title ?? ""}`,
      cell: (row) => [
        sessionLink(row.session_id),
        row.title ? [" ", h("small", { className: "hint" }, h("bdi", {}, row.title))] : null,
      ],
    },
    {
      key: "state",
      label: talk("state"),
      value: (row) => row.state,
      cell: (row) => row.state && statePill(row.state),
    },
    {
      key: "holder",
      label: talk("holder"),
      value: (row) => (row.holder ? `${row.holder.type} ${row.holder.id}` : ""),
      cell: (row) => row.holder && holderOf(row.holder),
    },
    {
      key: "present",
      label: t("present"),
      value: (row) => row.users.map((each) => `${each.user_id} ${each.username ?? ""}`).join(" "),
      cell: (row) => usersCell(row.users),
    },
    {
      key: "connections",
      label: t("connections"),
      value: (row) => row.connections,
      cell: (row) => count(row.connections),
      isNumber: true,
    },
    {
      key: "members",
      label: t("members"),
      value: (row) => row.members.length,
      cell: (row) => count(row.members.length),
      isNumber: true,
      isWide: true,
    },
    {
      key: "messages",
      label: t("offset"),
      value: (row) => row.offset,
      cell: (row) => count(row.offset),
      isNumber: true,
    },
  ];
  const table = new DataTable({
    label: t("sessions"),
    columns,
    keyOf: (row) => row.session_id,
    file: "sessions",
    filters: [
      chooser(
        "state",
        filters.state,
        talk("every_state"),
        STATES.map((each) => [each, talk(`state_${each}`)]),
        choose,
      ),
      chooser("holder", filters.holder, talk("every_holder"), holders(account, filters), choose),
    ],
    router,
    query,
  });
  const note = h("div", { className: "note" });
  root.append(
    heading(t("sessions"), { actions: [button(t("refresh"), () => reload())] }),
    note,
    table.element,
  );
  const reload = keepLoaded({
    path: "/sessions",
    name: "sessions",
    isSearched: true,
    query: () => filters,
    table,
    note,
    signal,
    shell,
  });
}

/** Who may be chosen as holder: kinds, oneself, and the one in the address. */
function holders(account, { holder }) {
  const own = `user:${account.identity.user_id}`;
  const all = [
    ["none", talk("holder_none")],
    [own, talk("holder_me")],
    ["user", talk("holder_any_user")],
    ["ai", talk("holder_any_ai")],
  ];
  return holder && !all.some(([value]) => value === holder) ? [...all, [holder, holder]] : all;
}

function usersCell(users) {
  if (!users.length) return "–";
  const shown = users
    .slice(0, SHOWN_USERS)
    .map((each, n) => [n ? ", " : "", userLink(each.user_id, each.username)]);
  const more = users.length > SHOWN_USERS ? ` ${t("more", { n: users.length - SHOWN_USERS })}` : "";
  return [shown, h("span", { className: "hint" }, more)];
}

async function showOne({ root, id: sessionId, signal, account, shell, has }) {
  const path = `/sessions/${id(sessionId)}`;
  let session = await get(path, {}, signal);
  const actions = [];
  if (has("publish")) {
    actions.push(
      h(
        "a",
        {
          className: "button quiet",
          href: `${pathTo("publish")}?target=session&id=${id(sessionId)}`,
        },
        t("send_here"),
      ),
    );
  }
  if (has("tasks")) {
    const href = `${pathTo("tasks")}?for=${id(sessionId)}`;
    actions.push(h("a", { className: "button quiet", href }, t("new_task")));
  }
  const hasConversation = session.state !== undefined; // not of older servers
  if (hasConversation) {
    actions.push(
      ...conversationActions(
        account,
        () => session,
        () => reload(),
      ),
    );
  }
  const edit = account.may("sessions:manage")
    ? [button(act("edit_members"), async () => (await editMembers(sessionId)) && reload())]
    : [];
  const [conversation, present, members, position] = [h("div"), h("div"), h("div"), h("div")];
  const note = h("div", { className: "note" });
  const history = account.may("messages:read")
    ? new History(sessionId, signal, has("trace"))
    : null;
  root.append(
    heading(t("session"), {
      back: { href: pathTo("sessions"), label: t("sessions") },
      beside: [copyable(sessionId)],
      actions,
    }),
    note,
    h(
      "div",
      { className: "columns" },
      hasConversation ? panel(talk("conversation"), conversation) : null,
      panel(t("present"), present),
      panel(t("members"), members, { actions: edit }),
      panel(t("position"), position),
    ),
    history?.element ?? "",
  );

  function draw() {
    update(note, missing(session.unreachable));
    if (hasConversation) update(conversation, conversationFacts(session));
    update(
      present,
      session.users.length
        ? h(
            "ul",
            { className: "listed" },
            session.users.map((each) =>
              h(
                "li",
                {},
                userLink(each.user_id, each.username),
                each.connections > 1
                  ? h("span", { className: "hint" }, ` × ${count(each.connections)}`)
                  : null,
              ),
            ),
          )
        : h("p", { className: "hint" }, t("nobody_present")),
    );
    update(
      members,
      session.members.length
        ? h(
            "ul",
            { className: "listed" },
            session.members.map((each) => h("li", {}, userLink(each), readPosition(session, each))),
          )
        : h("p", { className: "hint" }, t("no_members")),
    );
    update(
      position,
      facts([
        [t("offset"), count(session.offset)],
        [t("epoch"), h("code", {}, session.epoch)],
        [t("connections"), count(session.connections)],
      ]),
    );
    history?.follow(session.epoch, session.offset);
  }

  draw();
  const reload = poll(
    async () => {
      session = await get(path, {}, signal);
      draw();
    },
    ONE_S,
    signal,
    (error) => shell.showAway(error?.status === 0),
  );
}

/** How far a member has read, as far as it is known. */
function readPosition({ positions }, userId) {
  const found = positions?.find((each) => each.user_id === userId);
  if (!found) return null;
  const text =
    found.read_offset === null
      ? talk("read_none")
      : talk("read_to", { offset: count(found.read_offset) });
  return h("span", { className: "hint" }, ` ${text}`);
}
