/** The parts of the overview without plots: attention, health, nodes, busiest users and sessions. */

import { drain } from "../parts/actions.js";
import { t as act } from "../parts/action_texts.js";
import { get } from "../parts/api.js";
import { button } from "../parts/blocks.js";
import { fill, h } from "../parts/dom.js";
import { ago, count, duration, ms, number } from "../parts/format.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { t } from "./overview_texts.js";

const HEALTH_S = 5;
const DIAGNOSTICS_S = 30;
const BUSIEST = 8;
const COLUMNS = 3;

export class Side {
  #context;
  #health = null;
  #nodes = { nodes: [], unreachable: [] };
  #channels = {};
  #alerts = new Map(); // name -> the event alert_raised
  #checks = h("dl", { className: "checks" });
  #nodeRows = h("tbody");
  #busiest = h("div", { className: "busiest" });

  /** The word for the state of the server, for the heading. */
  status = h("span", { className: "pill", role: "status" });
  /** The list of problems; hidden while there are none. */
  attention = h("ul", { className: "attention", "aria-label": t("attention"), hidden: true });

  constructor(context) {
    this.#context = context;
    const columns = ["node", "state", "connections", "since", "version"];
    const table = h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((each) =>
            h("th", { scope: "col", className: each === "connections" ? "number" : "" }, t(each)),
          ),
        ),
      ),
      this.#nodeRows,
    );
    const mayMonitor = context.account.may("monitor") && !context.account.isConfined;
    this.panels = [
      panel(t("health"), this.#checks),
      context.account.may("connections:read")
        ? panel(t("nodes"), h("div", { className: "scroll" }, table))
        : null,
      mayMonitor ? panel(t("busiest"), this.#busiest) : null,
    ].filter(Boolean);
  }

  /** Let the last panel have a row of its own where it would be alone in it. */
  place(plots) {
    const last = this.panels.at(-1);
    last.classList.toggle("whole", (plots + this.panels.length) % COLUMNS === 1);
  }

  start() {
    const { signal, feed, account } = this.#context;
    poll(
      () => this.#readHealth(),
      HEALTH_S,
      signal,
      () => {},
    );
    if (account.may("stats:read"))
      poll(
        () => this.#readChannels(),
        DIAGNOSTICS_S,
        signal,
        () => {},
      );
    feed.on("event", (event) => this.#onEvent(event), signal);
    this.showBusiest(null);
  }

  showBusiest(busiest) {
    const users = (busiest?.users ?? []).slice(0, BUSIEST);
    const sessions = (busiest?.sessions ?? []).slice(0, BUSIEST);
    const rows = (list, page, key) =>
      h(
        "ol",
        {},
        list.map((each) =>
          h(
            "li",
            {},
            h("a", { href: pathTo(page, each[key]) }, each.username ?? each[key]),
            h("span", {}, t("per_second", { n: number(each.messages_per_s) })),
          ),
        ),
      );
    if (!users.length && !sessions.length)
      return fill(this.#busiest, h("p", { className: "hint" }, t("busiest_none")));
    fill(
      this.#busiest,
      h("div", {}, h("h3", {}, t("users")), rows(users, "users", "user_id")),
      h("div", {}, h("h3", {}, t("sessions")), rows(sessions, "sessions", "session_id")),
    );
  }

  async #readHealth() {
    const { signal, account } = this.#context;
    try {
      this.#health = await get("/health", {}, signal);
    } catch (error) {
      if (!error.body?.checks) throw error;
      this.#health = error.body; // 503 where the server must get no traffic
    }
    if (account.may("connections:read")) this.#nodes = await get("/nodes", {}, signal);
    this.#show();
  }

  async #readChannels() {
    this.#channels = (await get("/diagnostics", {}, this.#context.signal)).channels ?? {};
    this.#show();
  }

  #onEvent(event) {
    if (event.name === "alert_raised") this.#alerts.set(event.alert, event);
    else if (event.name === "alert_cleared") this.#alerts.delete(event.alert);
    else return;
    this.#show();
  }

  #show() {
    if (!this.#health) return;
    const { status, checks } = this.#health;
    const problems = this.#problems();
    this.status.textContent = t(status);
    this.status.dataset.kind =
      status === "ok" ? "success" : status === "degraded" ? "error" : "warning";
    fill(
      this.attention,
      problems.map(([kind, text]) => h("li", { dataset: { kind } }, text)),
    );
    this.attention.hidden = problems.length === 0;
    fill(
      this.#checks,
      Object.entries(checks).map(([name, check]) => checkRow(name, check)),
    );
    fill(
      this.#nodeRows,
      this.#nodes.nodes.map((node) =>
        nodeRow(node, this.#mayDrain ? () => this.#drain(node) : null),
      ),
    );
  }

  get #mayDrain() {
    const { account } = this.#context;
    return account.may("connections:disconnect") && !account.isConfined;
  }

  async #drain({ node, connections }) {
    if (await drain(node, connections)) this.#readHealth().catch(() => {});
  }

  #problems() {
    const { has } = this.#context;
    const found = [];
    for (const [name, check] of Object.entries(this.#health.checks)) {
      if (!check.ok) found.push(["error", t("check_failed", { name: checkName(name) })]);
    }
    for (const { alert, value, threshold } of this.#alerts.values()) {
      found.push([
        "error",
        t("alert", { alert, value: number(value), threshold: number(threshold) }),
      ]);
    }
    for (const { node, state } of this.#nodes.nodes) {
      if (state !== "up") found.push(["warning", t("node_state", { node, state: t(state) })]);
    }
    for (const node of this.#nodes.unreachable ?? [])
      found.push(["error", t("node_silent", { node })]);
    for (const [channel, state] of Object.entries(this.#channels)) {
      if (state.failed)
        found.push([
          "warning",
          link("failed", channel, t("channel_failed", { channel, n: count(state.failed) })),
        ]);
      if (state.due_since && Date.now() - Date.parse(state.due_since) > 60_000) {
        found.push([
          "warning",
          link(
            "pending",
            channel,
            t("channel_late", { channel, n: count(state.waiting), since: ago(state.due_since) }),
          ),
        ]);
      }
    }
    return found;

    function link(state, channel, text) {
      if (!has("notifications")) return text;
      return h("a", { href: `${pathTo("notifications")}?state=${state}&channel=${channel}` }, text);
    }
  }
}

function panel(title, content) {
  return h("section", { className: "panel" }, h("h2", {}, title), content);
}

function checkName(name) {
  return t.has(`check_${name}`) ? t(`check_${name}`) : name;
}

function checkRow(name, check) {
  return [
    h("dt", { dataset: { kind: check.ok ? "success" : "error" } }, checkName(name)),
    h("dd", {}, checkText(name, check)),
  ];
}

function checkText(name, check) {
  switch (name) {
    case "connections":
      return t("check_shown", { value: count(check.open), limit: count(check.limit) });
    case "loop":
      return t("loop_shown", { lag: ms(check.lag_ms) });
    case "database":
      return t("database_shown", {
        kind: check.kind,
        commit: ms(check.last_commit_ms),
        queued: count(check.queued),
      });
    case "errors":
      return t("errors_shown", {
        limit: `${number(check.threshold * 100)} %`,
        window: number(check.window_s),
      });
    default:
      return check.last_error ?? check.kind ?? t(check.ok ? "ok" : "degraded");
  }
}

function nodeRow({ node, state, connections, since, version }, onDrain) {
  const kind = { up: "success", draining: "warning" }[state] ?? "error";
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, node),
    h("td", {}, h("span", { className: "pill", dataset: { kind } }, t(state))),
    h("td", { className: "number" }, count(connections)),
    h("td", {}, state === "lost" ? "–" : duration((Date.now() - Date.parse(since)) / 1000)),
    h(
      "td",
      {},
      version,
      onDrain && state === "up" ? [" ", button(act("drain"), onDrain, "link")] : null,
    ),
  );
}
