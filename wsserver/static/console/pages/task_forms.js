/** Forms of tasks: a new one, and how far one has come. */

import { id, post, request } from "../parts/api.js";
import { confirmAction } from "../parts/dialog.js";
import { area, input, labelled, select } from "../parts/forms.js";
import { toast } from "../parts/toasts.js";
import { t } from "./work_texts.js";

const ROLES = ["user", "manager", "service", "admin"];

/** Ask for a new task, maybe in a session, and create it; resolves with it, or null. */
export async function createTask(account, session = "") {
  const fields = {
    title: input("title", { required: true, maxLength: 200, spellcheck: true }),
    steps: area("steps", { rows: 4, spellcheck: true, className: "prose" }),
    assignee_kind: select("assignee_kind", [
      ["", t("nobody")],
      ["user", t("a_user")],
      ...ROLES.map((role) => [`role ${role}`, t("role", { role })]),
    ]),
    assignee: input("assignee", { maxLength: 128 }),
    session: input("session", { maxLength: 128, value: session }),
    organization: input("organization", { maxLength: 128 }),
    due: input("due", { type: "datetime-local" }),
  };
  if (account.isConfined) delete fields.organization; // it is the creator's
  const hints = { steps: t("steps_hint") };
  const shown = Object.entries(fields).map(([name, field]) =>
    labelled(t(name), field, hints[name]),
  );
  const user = shown[Object.keys(fields).indexOf("assignee")];
  const chosen = () => {
    user.hidden = fields.assignee_kind.value !== "user";
    fields.assignee.required = !user.hidden;
  };
  fields.assignee_kind.addEventListener("change", chosen);
  chosen();
  const key = crypto.randomUUID?.() ?? String(Math.random()); // without HTTPS there is none
  const result = await confirmAction({
    title: t("new_task"),
    confirm: t("create"),
    fields: shown,
    preview: () => [],
    act: () => post("/tasks", taskOf(fields), { key }),
  });
  if (result) toast(t("task_created"), { kind: "success" });
  return result;
}

/** The body of a request from the values of the form. */
function taskOf({ title, steps, assignee_kind: kind, assignee, session, organization, due }) {
  const lines = steps.value.split("\n").map((each) => each.trim());
  const body = { title: title.value.trim(), steps: lines.filter(Boolean).map(stepOf) };
  if (kind.value === "user") body.assignee = { user: assignee.value.trim() };
  else if (kind.value) body.assignee = { role: kind.value.slice("role ".length) };
  if (session.value.trim()) body.session_id = session.value.trim();
  if (organization?.value.trim()) body.organization_id = organization.value.trim();
  if (due.value) body.due_at = new Date(due.value).toISOString();
  return body;
}

const stepOf = (title) => ({ title });

/** Ask how far a task has come: its step, its progress, a note. */
export async function editProgress(task) {
  const step = select(
    "step",
    task.steps.map(({ title }, n) => [String(n), `${n + 1}. ${title}`]),
    String(task.step),
  );
  const percent = input("percent", {
    type: "number",
    min: 0,
    max: 100,
    step: "any",
    required: true,
    value: Math.round(task.progress * 1000) / 10,
  });
  const note = area("note", { rows: 2, maxLength: 2000, className: "prose" });
  const result = await confirmAction({
    title: t("edit_progress"),
    confirm: t("save"),
    fields: [
      task.steps.length ? labelled(t("step"), step) : null,
      labelled(t("percent"), percent),
      labelled(t("note"), note),
    ],
    preview: () => [],
    act: () => {
      const body = { progress: Number(percent.value) / 100, expected_version: task.version };
      if (task.steps.length) body.step = Number(step.value);
      if (note.value.trim()) body.note = note.value.trim();
      return request("PATCH", `/tasks/${id(task.task_id)}`, { body });
    },
  });
  if (result) toast(t("saved"), { kind: "success" });
  return result !== null;
}
