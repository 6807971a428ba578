/** Doctor: checks from this browser and of each node, with what to do. */

import { WsClient } from "../../client.js";
import { get, post } from "../parts/api.js";
import { button, heading, panel, pill } from "../parts/blocks.js";
import { fill, h } from "../parts/dom.js";
import { ms } from "../parts/format.js";
import { ofChannels, ofHealth, ofNode, ofNodes, ofPath } from "./doctor_checks.js";
import { t } from "./doctor_texts.js";

const KINDS = { ok: "success", warning: "warning", failed: "error", skipped: "" };
const PROBE_MS = 8000;
const PROBE = "console.probe";

export async function show({ root, signal, account }) {
  const summary = h("span", { role: "status" });
  const again = button(t("run_again"), () => run());
  const groups = h("div", { className: "groups" });
  root.append(
    heading(t("doctor"), { beside: summary, actions: [again] }),
    h("p", { className: "hint" }, t("hint")),
    groups,
  );
  await run();

  async function run() {
    again.disabled = true;
    summary.textContent = t("running");
    const found = [];
    const add = (title, findings) => {
      found.push(...findings);
      groups.append(panel(title, tableOf(title, findings), { className: "table-panel doctor" }));
    };
    groups.replaceChildren();
    try {
      const began = performance.now();
      await account.refresh();
      const took = performance.now() - began;
      const path = ofPath(account.identity, took, location, Date.now());
      add(t("here"), [...path, ...(await probe(account, signal))]);
      add(t("of_server"), await ofServer());
      for (const [node, findings] of await ofEachNode()) add(t("of_node", { node }), findings);
    } catch (error) {
      if (!signal.aborted)
        groups.append(h("p", { className: "problem", role: "alert" }, error.message));
    }
    const counts = Object.fromEntries(
      Object.keys(KINDS).map((state) => [
        state,
        found.filter((each) => each.state === state).length,
      ]),
    );
    const worst = counts.failed ? "failed" : counts.warning ? "warning" : "ok";
    fill(summary, pill(t("summary", counts), KINDS[worst]));
    again.disabled = false;
  }

  async function ofServer() {
    const findings = [];
    if (account.may("connections:read")) findings.push(...ofNodes(await get("/nodes", {}, signal)));
    let health;
    try {
      health = await get("/health", {}, signal);
    } catch (error) {
      if (!error.body?.checks) throw error;
      health = error.body;
    }
    findings.push(...ofHealth(health));
    findings.push(...ofChannels(await get("/diagnostics", {}, signal), Date.now()));
    return findings;
  }

  async function ofEachNode() {
    const nodes = account.may("connections:read")
      ? (await get("/nodes", {}, signal)).nodes
          .filter(({ state }) => state !== "lost")
          .map(({ node }) => node)
      : [null];
    return Promise.all(
      nodes.map(async (node) => {
        const found = await get("/diagnostics", { node }, signal);
        return [found.node, ofNode(found)];
      }),
    );
  }
}

/** Open a socket, ping, publish to it and receive that, with the time of each. */
async function probe(account, signal) {
  const client = new WsClient({
    ticketProvider: async () => (await post("/tickets")).ticket,
    acknowledge: "none",
    shareTabs: false,
  });
  const stop = () => client.close();
  signal.addEventListener("abort", stop);
  const deadline = new Promise((_, reject) =>
    setTimeout(
      reject,
      PROBE_MS,
      new Error(t("socket_failed", { reason: `> ${PROBE_MS / 1000} s` })),
    ),
  );
  try {
    const began = performance.now();
    const { connection_id: connectionId } = await Promise.race([client.connect(), deadline]);
    const opened = performance.now();
    await Promise.race([client.command("ping"), deadline]);
    const answered = performance.now();
    const text = t("socket_ok", { ms: ms(opened - began), pong: ms(answered - opened) });
    return [{ name: t("socket"), state: "ok", text }, await deliver(client, connectionId, account)];
  } catch (error) {
    const text = t("socket_failed", { reason: error.message });
    return [{ name: t("socket"), state: "failed", text, advice: t("socket_advice") }];
  } finally {
    signal.removeEventListener("abort", stop);
    client.close();
  }
}

async function deliver(client, connectionId, account) {
  const name = t("delivery");
  if (!account.may("messages:publish")) {
    return { name, state: "skipped", text: t("needs", { permission: "messages:publish" }) };
  }
  const began = performance.now();
  const received = new Promise((resolve) =>
    client.addEventListener(PROBE, resolve, { once: true }),
  );
  const target = { type: "connection", id: connectionId };
  const sent = await post("/messages", { target, type: PROBE, data: null });
  const late = new Promise((resolve) => setTimeout(resolve, PROBE_MS, null));
  if (await Promise.race([received, late])) {
    return { name, state: "ok", text: t("delivery_ok", { ms: ms(performance.now() - began) }) };
  }
  const text = t("delivery_failed", { s: PROBE_MS / 1000 });
  return { name, state: "failed", text, advice: t("delivery_advice", { id: sent.message_id }) };
}

function tableOf(title, findings) {
  const head = ["check", "result", "details"].map((each) => h("th", { scope: "col" }, t(each)));
  const rows = findings.map(({ name, state, text, advice }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      h("td", {}, pill(t(state), KINDS[state])),
      h("td", { className: "free" }, text, advice ? h("p", { className: "hint" }, advice) : null),
    ),
  );
  return h(
    "div",
    { className: "scroll", tabIndex: 0, role: "group", "aria-label": title },
    h("table", { className: "data" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)),
  );
}
