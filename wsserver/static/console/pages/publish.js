/** Publish: a message for any target, with the answer to "who would get it" before it is sent. */

import { post } from "../parts/api.js";
import {
  connectionLink,
  facts,
  heading,
  missing,
  panel,
  traceLink,
  userLink,
} from "../parts/blocks.js";
import { confirmAction } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { area, choices, input, labelled, select, showFaults, wordsOf } from "../parts/forms.js";
import { count } from "../parts/format.js";
import { t } from "./publish_texts.js";

const TARGETS = ["session", "user", "organization", "role", "connection", "broadcast"];
const WHATS = ["message", "custom", "body"];
const ROLES = ["user", "manager", "admin", "service"];
const CONTENT_TYPES = ["text/plain", "text/markdown", "application/json"];
const LISTED = 200;

export function show({ root, query, account, router, has }) {
  const targets = TARGETS.map((each) => [each, t(`target_${each}`)]);
  const chosen = TARGETS.includes(query.get("target")) ? query.get("target") : "session";
  const targetId = input("id", { required: true, maxLength: 128, value: query.get("id") ?? "" });
  const role = select(
    "role",
    ROLES.map((each) => [each, each]),
  );
  const targetPlace = h("div");
  const target = choices(t("target"), "target", targets, chosen, (value) => {
    router.setQuery({ target: value });
    showTarget(value);
    forget();
  });
  targetId.addEventListener("input", () => {
    router.setQuery({ id: targetId.value });
    forget();
  });

  const fields = {
    content: area("content", { required: true, rows: 4, className: "prose", spellcheck: true }),
    content_type: select(
      "content_type",
      CONTENT_TYPES.map((each) => [each, each]),
    ),
    sender: input("sender", { placeholder: t("sender_hint"), maxLength: 128 }),
    session_id: input("session_id", { maxLength: 128 }),
    type: input("type", {
      value: "announcement",
      required: true,
      pattern: "[a-z][a-z0-9_.]{0,63}",
    }),
    data: area("data", { value: '{\n  "text": ""\n}' }),
    body: area("body", { rows: 8, value: '{\n  "type": "typing",\n  "is_typing": true\n}' }),
    keep: select(
      "keep",
      ["default", "yes", "no"].map((each) => [each, t(`keep_${each}`)]),
    ),
    ttl_s: input("ttl_s", { type: "number", min: 1, step: "any" }),
    exclude: input("exclude"),
  };
  const whatPlace = h("div", { className: "fields" });
  const what = choices(
    t("what"),
    "what",
    WHATS.map((each) => [each, t(`what_${each}`)]),
    "message",
    (value) => {
      showWhat(value);
      forget();
    },
  );
  const problem = h("p", { className: "problem", role: "alert" });
  const answer = h("div", { "aria-live": "polite" }, h("p", { className: "hint" }, t("not_asked")));
  const result = h("div", { "aria-live": "polite" });
  const explain = h("button", { type: "button", className: "quiet", onclick: ask }, t("explain"));
  const form = h(
    "form",
    { className: "panel fields" },
    target.element,
    targetPlace,
    account.isConfined ? h("p", { className: "hint" }, t("own_organization")) : null,
    what.element,
    whatPlace,
    h(
      "details",
      {},
      h("summary", {}, t("options")),
      h(
        "div",
        { className: "fields" },
        labelled(t("keep"), fields.keep),
        labelled(t("ttl"), fields.ttl_s),
        labelled(t("exclude"), fields.exclude),
      ),
    ),
    problem,
    h("div", { className: "row" }, h("button", { type: "submit" }, t("send")), explain),
  );
  form.addEventListener("input", forget);
  form.addEventListener("submit", send);
  root.append(
    heading(t("publish")),
    h(
      "div",
      { className: "columns form-and-answer" },
      form,
      h("div", { className: "fields" }, result, panel(t("recipients"), answer)),
    ),
  );
  showTarget(chosen);
  showWhat("message");

  function showTarget(value) {
    if (value === "broadcast") return targetPlace.replaceChildren();
    const field = value === "role" ? role : targetId;
    return fill(targetPlace, labelled(t(`id_${value}`), field));
  }

  function showWhat(value) {
    const isOfSession = target.value === "session";
    const shown = {
      message: () => [
        labelled(t("content"), fields.content),
        labelled(t("content_type"), fields.content_type),
        labelled(t("sender"), fields.sender),
        isOfSession ? null : labelled(t("session_of"), fields.session_id),
      ],
      custom: () => [labelled(t("type"), fields.type), labelled(t("data"), fields.data)],
      body: () => labelled(t("body"), fields.body),
    };
    fill(whatPlace, shown[value]());
  }

  /** What was answered does not hold for what is in the form now. */
  function forget() {
    problem.textContent = "";
    fill(answer, h("p", { className: "hint" }, t("not_asked")));
    if (form.isConnected) showWhatAgain();
  }

  function showWhatAgain() {
    const isShown = fields.session_id.isConnected;
    if (what.value === "message" && isShown === (target.value === "session")) showWhat("message");
  }

  /** The request's body; throws with what is wrong. */
  function body() {
    const made = {};
    if (what.value === "message") {
      made.type = "new_message";
      const isJson = fields.content_type.value === "application/json";
      made.content = isJson ? jsonOf(t("content"), fields.content.value) : fields.content.value;
      made.content_type = fields.content_type.value;
      if (fields.sender.value) made.sender = { user_id: fields.sender.value.trim() };
      if (target.value !== "session" && fields.session_id.value)
        made.session_id = fields.session_id.value.trim();
    } else if (what.value === "custom") {
      made.type = fields.type.value;
      if (fields.data.value.trim()) made.data = jsonOf(t("data"), fields.data.value);
    } else {
      const given = jsonOf(t("body"), fields.body.value);
      if (given === null || typeof given !== "object" || Array.isArray(given))
        throw new Error(t("needs_object"));
      Object.assign(made, given);
    }
    if (fields.keep.value !== "default") made.keep = fields.keep.value === "yes";
    if (fields.ttl_s.value) made.ttl_s = Number(fields.ttl_s.value);
    const excluded = wordsOf(fields.exclude.value);
    if (excluded.length) made.exclude_users = excluded;
    const type = target.value;
    made.target = { type };
    if (type !== "broadcast") made.target.id = type === "role" ? role.value : targetId.value.trim();
    return made;
  }

  async function ask() {
    if (!form.reportValidity()) return;
    problem.textContent = "";
    explain.disabled = true;
    try {
      fill(answer, explanation(await post("/messages/explain", body())));
    } catch (error) {
      showFaults(problem, error);
    }
    explain.disabled = false;
  }

  async function send(event) {
    event.preventDefault();
    problem.textContent = "";
    let wanted;
    try {
      wanted = body();
    } catch (error) {
      showFaults(problem, error);
      return;
    }
    const key = crypto.randomUUID?.() ?? String(Math.random());
    const sent = await confirmAction({
      title: t("send_title"),
      confirm: t("send_now"),
      preview: async () => explanation(await post("/messages/explain", wanted)),
      // With the key a repeated try after a lost answer sends nothing twice.
      act: () => post("/messages", wanted, { key }),
    });
    if (sent)
      fill(result, panel(t("sent_title"), outcome(sent, has("trace")), { className: "success" }));
  }
}

function outcome(sent, hasTrace) {
  return [
    missing(sent.unreachable),
    facts([
      [t("message_id"), hasTrace ? traceLink(sent.message_id) : sent.message_id],
      [t("matched_short"), count(sent.matched)],
      [t("sent"), count(sent.sent)],
      [t("failed"), sent.failed ? count(sent.failed) : null],
      [t("position"), sent.stream && `${sent.stream} #${sent.offset}`],
    ]),
  ];
}

/** The answer of `/messages/explain`. */
export function explanation(found) {
  const recipients = found.recipients
    .slice(0, LISTED)
    .map((each) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, userLink(each.user_id)),
        h("td", {}, connectionLink(each.connection_id)),
      ),
    );
  const excluded = found.excluded.slice(0, LISTED).map((each) => {
    const reason = t.has(`reason_${each.reason}`) ? t(`reason_${each.reason}`) : each.reason;
    const later = each.will_be_kept ? `, ${t("will_be_kept")}` : "";
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, userLink(each.user_id)),
      h("td", {}, reason + later),
    );
  });
  const isCut =
    found.truncated || found.recipients.length > LISTED || found.excluded.length > LISTED;
  return h(
    "div",
    { className: "fields" },
    missing(found.unreachable),
    h(
      "p",
      {},
      h("b", {}, found.matched ? t("matched", { n: count(found.matched) }) : t("matched_none")),
    ),
    h(
      "p",
      { className: "hint" },
      found.stream ? t("kept_in", { stream: found.stream }) : t("not_kept"),
    ),
    recipients.length ? listing(t("recipients"), [t("user"), t("connection")], recipients) : null,
    excluded.length ? listing(t("excluded"), [t("user"), t("reason")], excluded) : null,
    isCut ? h("p", { className: "hint" }, t("truncated")) : null,
  );
}

function listing(title, columns, rows) {
  const head = h(
    "tr",
    {},
    columns.map((each) => h("th", { scope: "col" }, each)),
  );
  const table = h("table", { "aria-label": title }, h("thead", {}, head), h("tbody", {}, rows));
  return h(
    "div",
    { className: "scroll short", tabIndex: 0, role: "group", "aria-label": title },
    table,
  );
}

function jsonOf(field, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(t("bad_json", { field, reason: error.message }), { cause: error });
  }
}
