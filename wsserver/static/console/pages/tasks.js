/** Tasks: all, or one with its steps and history, and changes of its state. */

import { get, id, request } from "../parts/api.js";
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
  userLink,
  when,
} from "../parts/blocks.js";
import { CursorTable } from "../parts/cursor_table.js";
import { confirmAction } from "../parts/dialog.js";
import { h, update } from "../parts/dom.js";
import { area, labelled } from "../parts/forms.js";
import { count, shortJson } from "../parts/format.js";
import { poll } from "../parts/polling.js";
import { dataTable } from "../parts/plain_table.js";
import { pathTo } from "../parts/router.js";
import { toast } from "../parts/toasts.js";
import { createTask, editProgress } from "./task_forms.js";
import { t } from "./work_texts.js";

const KINDS = {
  pending: "",
  running: "info",
  waiting: "warning",
  done: "success",
  failed: "error",
  cancelled: "",
};
/** State → those that may follow. */
const TRANSITIONS = {
  pending: ["running", "cancelled"],
  running: ["waiting", "done", "failed", "cancelled"],
  waiting: ["running", "failed", "cancelled"],
};
const DANGEROUS = ["failed", "cancelled"];
const ONE_S = 3;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

function showAll({ root, query, signal, account, router, shell }) {
  const table = new CursorTable({
    label: t("tasks"),
    path: "/tasks",
    name: "tasks",
    columns: [
      {
        label: t("title"),
        value: (row) => h("a", { href: pathTo("tasks", row.task_id) }, row.title),
      },
      {
        label: t("state"),
        value: (row) => [
          statePill(row.state),
          row.overdue ? [" ", pill(t("overdue"), "error")] : null,
        ],
      },
      { label: t("progress"), value: (row) => bar(row.progress) },
      { label: t("assigned"), value: (row) => assignee(row.assignee) },
      { label: t("due"), value: (row) => when(row.due_at) },
      {
        label: t("session"),
        value: (row) => row.session_id && sessionLink(row.session_id),
        isWide: true,
      },
      { label: t("organization"), value: (row) => row.organization_id, isWide: true },
      { label: t("updated"), value: (row) => when(row.updated_at), isWide: true },
    ],
    filters: [
      {
        name: "state",
        label: t("every_state"),
        options: Object.keys(KINDS).map((each) => [each, stateName(each)]),
      },
      { name: "overdue", label: t("every_due"), options: [["true", t("only_overdue")]] },
      { name: "assignee", label: t("assignee") },
    ],
    query,
    router,
    signal,
    shell,
  });
  const create = async (session = "") => {
    const made = await createTask(account, session);
    if (made) router.go(pathTo("tasks", made.task_id));
  };
  root.append(
    heading(t("tasks"), { actions: [button(t("new_task"), () => create())] }),
    table.element,
  );
  table.start();
  const session = query.get("for"); // from the page of a session
  if (session) {
    router.setQuery({ for: null });
    create(session);
  }
}

async function showOne({ root, id: taskId, signal, shell }) {
  const path = `/tasks/${id(taskId)}`;
  let task = await get(path, {}, signal);
  const state = h("span", { role: "status" });
  const actions = h("div", { className: "actions" });
  const [what, steps, history] = [
    h("div"),
    h("div"),
    h("div"),
  ];
  history.setAttribute("aria-label", t("history"));
  root.append(
    heading(t("task"), {
      back: { href: pathTo("tasks"), label: t("tasks") },
      beside: [copyable(taskId), state, actions],
    }),
    h("div", { className: "columns" }, panel(task.title, what), panel(t("steps"), steps)),
    panel(t("history"), history),
  );

  function draw() {
    update(state, statePill(task.state), task.overdue ? [" ", pill(t("overdue"), "error")] : null);
    const next = TRANSITIONS[task.state] ?? [];
    update(
      actions,
      next.length ? button(t("edit_progress"), progress) : null,
      next.map((each) =>
        button(
          `→ ${stateName(each)}`,
          () => change(each),
          DANGEROUS.includes(each) ? "quiet danger" : "quiet",
        ),
      ),
    );
    update(what, factsOf(task));
    update(steps, stepsOf(task));
    update(history, historyOf(task));
  }

  const progress = async () => (await editProgress(task)) && reload();

  async function change(to) {
    const note = area("note", { rows: 2, maxLength: 2000, className: "prose" });
    const result = await confirmAction({
      title: t("change_to", { state: stateName(to) }),
      confirm: stateName(to),
      isDanger: DANGEROUS.includes(to),
      fields: [labelled(t("note"), note)],
      preview: () =>
        h(
          "p",
          {},
          t("change_preview", {
            title: task.title,
            from: stateName(task.state),
            to: stateName(to),
          }),
        ),
      act: () => {
        const body = { state: to, expected_version: task.version };
        if (note.value) body.note = note.value;
        return request("PATCH", path, { body });
      },
    });
    if (!result) return;
    toast(t("changed", { state: stateName(result.state) }), { kind: "success" });
    reload();
  }

  draw();
  const reload = poll(
    async () => {
      task = await get(path, {}, signal);
      draw();
    },
    ONE_S,
    signal,
    (error) => shell.showAway(error?.status === 0),
  );
}

function factsOf(task) {
  const hasMetadata = Object.keys(task.metadata).length > 0;
  return facts([
    [t("progress"), bar(task.progress)],
    [t("assigned"), assignee(task.assignee)],
    [t("due"), task.due_at && [at(task.due_at), " · ", when(task.due_at)]],
    [t("session"), task.session_id && sessionLink(task.session_id)],
    [t("organization"), task.organization_id],
    [t("created"), [at(task.created_at), " ", userLink(task.created_by)]],
    [t("updated"), when(task.updated_at)],
    [t("version"), count(task.version)],
    [t("metadata"), hasMetadata ? json(task.metadata) : null],
  ]);
}

function stepsOf({ steps, step, state }) {
  if (!steps.length) return h("p", { className: "hint" }, t("no_steps"));
  return h(
    "ol",
    { className: "steps" },
    steps.map(({ title }, n) => {
      const isDone = n < step || state === "done";
      const place = isDone ? "done" : n === step ? "now" : "later";
      return h(
        "li",
        { dataset: { place }, "aria-current": place === "now" ? "step" : null },
        title,
      );
    }),
  );
}

function historyOf({ history, steps }) {
  const columns = [
    { label: t("updated"), cell: (row) => at(row.at) },
    { label: t("by"), cell: (row) => (row.by ? userLink(row.by) : t("server")) },
    { label: t("change"), cell: (row) => changesOf(row, steps), isFree: true },
    { label: t("note"), cell: (row) => row.note, isFree: true },
  ];
  return dataTable(t("history"), columns, history.toReversed(), "");
}

function changesOf({ changed, version }, steps) {
  if (version === 1) return t("created_it");
  return Object.entries(changed)
    .map(([name, value]) => `${t(name)}: ${valueOf(name, value, steps)}`)
    .join(" · ");
}

function valueOf(name, value, steps) {
  if (name === "state") return stateName(value);
  if (name === "progress") return t("share", { percent: Math.floor(value * 100) });
  if (name === "step") return `${value + 1}. ${steps[value]?.title ?? ""}`;
  return shortJson(value, 80);
}

function assignee(given) {
  if (given?.user) return userLink(given.user);
  return given?.role ? t("role", { role: given.role }) : t("nobody");
}

function stateName(state) {
  return t.has(`state_${state}`) ? t(`state_${state}`) : state;
}

const statePill = (state) => pill(stateName(state), KINDS[state] ?? "");

/** A share from 0 to 1 as a bar with its percentage. */
export function bar(share, kind = "") {
  const percent = Math.floor(Math.max(0, share) * 100);
  const meter = h("progress", { max: 100, value: Math.min(100, percent), dataset: { kind } });
  meter.setAttribute("aria-hidden", "true");
  return h("span", { className: "share" }, meter, t("share", { percent }));
}
