/** Search: messages of sessions by their text. */

import { get } from "../parts/api.js";
import { at, button, heading, sessionLink, userLink } from "../parts/blocks.js";
import { h } from "../parts/dom.js";
import { input, labelled } from "../parts/forms.js";
import { pathTo } from "../parts/router.js";
import { t } from "./conversation_texts.js";

const LIMIT = 30;

export function show({ root, query, signal, router, has }) {
  const words = input("query", {
    type: "search",
    required: true,
    minLength: 2,
    maxLength: 200,
    value: query.get("query") ?? "",
  });
  const session = input("session", {
    type: "search",
    maxLength: 128,
    value: query.get("session") ?? "",
  });
  const problem = h("p", { className: "problem", role: "alert" });
  const results = h("ol", { className: "results", "aria-label": t("search") });
  const note = h("p", { className: "hint", role: "status" }, t("found_hint"));
  const more = button(t("found_more"), () => load(false));
  more.hidden = true;
  let cursor = null;
  let run = 0;
  const form = h(
    "form",
    { className: "panel row search-form" },
    labelled(t("words"), words),
    labelled(t("only_session"), session),
    h("button", { type: "submit" }, t("search")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    router.setQuery({ query: words.value, session: session.value });
    load(true);
  });
  root.append(heading(t("search")), form, problem, note, results, more);
  if (words.value) load(true);
  else words.focus();

  async function load(isNew) {
    run += 1;
    const mine = run;
    problem.textContent = "";
    if (isNew) {
      cursor = null;
      results.replaceChildren();
    }
    try {
      const asked = { query: words.value, session_id: session.value.trim(), limit: LIMIT, cursor };
      const page = await get("/search", asked, signal);
      if (mine !== run) return;
      cursor = page.next_cursor;
      results.append(...page.messages.map((each) => result(each, words.value, has("trace"))));
      note.textContent = results.childElementCount ? "" : t("found_none");
    } catch (error) {
      if (mine !== run || signal.aborted) return;
      problem.textContent = error.message;
    }
    more.hidden = cursor === null;
  }
}

function result(
  { message, timestamp, session_id: sessionId, offset, snippet, id },
  words,
  hasTrace,
) {
  const { sender } = message;
  return h(
    "li",
    { className: "panel" },
    h(
      "p",
      { className: "hint" },
      at(timestamp),
      " · ",
      sessionLink(sessionId),
      ` #${offset} · `,
      sender ? userLink(sender.user_id, sender.username) : "",
      hasTrace ? [" · ", h("a", { href: pathTo("trace", id) }, t("trace"))] : null,
    ),
    h("p", { className: "message-text" }, marked(snippet, words)),
  );
}

/** The text with the words of a search marked. */
function marked(text, words) {
  const wanted = words
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!wanted.length) return text;
  const parts = text.split(new RegExp(`(${wanted.join("|")})`, "gi"));
  return parts.map((part, n) => (n % 2 ? h("mark", {}, part) : part));
}
