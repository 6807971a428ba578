/** The chat tester: signs in, keeps one connection, shows its state. */

import { NO_CREDENTIAL, WsClient } from "../../client.js";
import { byId, h } from "../parts/dom.js";
import { applyTheme } from "../parts/preferences.js";
import { Inbox } from "./inbox.js";
import { Live } from "./live.js";
import { Talk } from "./talk.js";
import { LANGUAGE, text, translate } from "./texts.js";
import { signIn, signedInUser, ticketsOf } from "./tickets.js";
import { notify, toast } from "./toasts.js";

const MONITOR = "/ws/admin/monitor";
const STATS = [
  ["stat_total_connections", (stats) => stats.total_connections],
  ["stat_active_users", (stats) => stats.active_users],
  ["stat_active_sessions", (stats) => stats.active_sessions],
  ["stat_sent_rate", (stats) => stats.rates?.messages_sent_per_s],
  ["stat_received_rate", (stats) => stats.rates?.messages_received_per_s],
  ["stat_errors", (stats) => stats.errors],
];

applyTheme();
translate(document);
const live = new Live();
const talk = new Talk();
const inbox = new Inbox();
let client = null;
let user = null; // of the last connection
let countdown = 0;
let closed = null; // the notice that says why there is no connection

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("token");
  const token = field.value.trim();
  field.value = ""; // the token is kept only in the memory of this page
  connect({ token });
});
byId("endpoint").addEventListener("change", showBound);
byId("disconnect").addEventListener("click", () => client?.close());
showBound();
showState("idle");
useTicket().finally(offerSignIn);

/**
 * `/console/chat#ticket=…` connects at once; `&endpoint=monitor` as a monitor.
 *
 * The ticket serves once, but connections get lost. So where nobody is signed in at the console, its
 * user is, as by `/console#ticket=…`, and gets a new ticket for each connection.
 */
async function useTicket() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const ticket = fragment.get("ticket");
  // Before anything else: the URL is visible on the screen, and kept in the browser's history.
  history.replaceState(null, "", location.pathname + location.search);
  if (!ticket) return;
  if (["chat", "monitor"].includes(fragment.get("endpoint"))) {
    byId("endpoint").value = fragment.get("endpoint");
  }
  try {
    if ((await signedInUser()) === null) return connectAs(await signIn(ticket));
  } catch (error) {
    const reason = error.status === 401 ? text("ticket_used") : error.message;
    return toast(reason, { kind: "warning", stays: true });
  }
  // Somebody else may be signed in: they stay so.
  connect({ ticketProvider: ticketsOf(() => user, { first: ticket, onEnded: askForToken }) });
}

/** Who is signed in at the console can connect without a token. */
async function offerSignIn() {
  const signedIn = await signedInUser().catch(() => null);
  if (signedIn === null) return;
  const button = byId("as-signed-in");
  button.textContent = text("connect_as", { user: signedIn });
  button.hidden = false;
  button.addEventListener("click", () => connectAs(signedIn));
}

function connectAs(signedIn) {
  connect({ ticketProvider: ticketsOf(() => signedIn, { onEnded: askForToken }) });
}

/** There are no more tickets for this user. */
function askForToken(user) {
  toast(text("sign_in_ended", { user: user ?? "…" }), { kind: "warning", stays: true });
}

function connect(credential) {
  client?.close();
  const endpoint = byId("endpoint").value;
  client = new WsClient({
    ...credential,
    ...(endpoint === "monitor" ? { endpoint: MONITOR } : {}),
    ...(endpoint === "session" ? { sessionId: byId("bound-session").value } : {}),
  });
  inbox.clear();
  listen(client);
  talk.attach(client);
  client.connect().catch(() => {}); // ws:close reports it
}

function listen(mine) {
  const on = (name, handle) =>
    mine.addEventListener(name, ({ detail }) => mine === client && handle(detail));
  on("ws:push", (push) => {
    live.add(push);
    inbox.add(push);
  });
  on("ws:state", ({ state }) => showState(state));
  on("ws:open", (push) => {
    closed?.remove();
    user = push.user_id;
    byId("who").textContent = user;
    inbox.greet(push);
    if (byId("endpoint").value === "monitor") {
      const args = { events: ["*"], interval_s: 2 };
      mine.command("subscribe", { args }).catch((error) => toast(error.message));
    }
  });
  on("ws:gap", ({ stream, reason }) => {
    live.add({ type: "ws.gap", data: { text: text("gap", { stream, reason }) } });
  });
  on("ws:error", ({ error }) => live.add({ type: "ws.error", data: { text: error.message } }));
  on("ws:close", ({ code, reason, willReconnect, delayMs }) => {
    const isTimed = willReconnect && delayMs !== null; // else when another connection has gone
    const s = Math.ceil((delayMs ?? 0) / 1000);
    live.add({
      type: "ws.close",
      data: { text: text(isTimed ? "closed_again" : "closed", { code, reason, s }) },
    });
    byId("state").title = `${code} ${reason}`.trim();
    if (isTimed) countDown(delayMs);
    else if (willReconnect) byId("state-text").textContent = text("state_evicted");
    else if (code !== 1000 && reason !== NO_CREDENTIAL) {
      closed = toast(text("closed", { code, reason }), { kind: "error", stays: true });
    }
  });
  on("stats_update", ({ stats }) => showStats(stats));
  on("notification", notify);
  on("announcement", ({ data }) => toast(data?.text ?? JSON.stringify(data)));
}

function showState(state) {
  clearInterval(countdown);
  byId("state").dataset.state = state;
  byId("state-text").textContent = text(`state_${state}`, { s: "…" });
  if (state === "open") byId("state").title = "";
  const isOff = state === "idle" || state === "closed";
  byId("access").hidden = !isOff;
  byId("side").hidden = isOff;
  byId("disconnect").hidden = isOff;
  if (isOff) {
    byId("talk").hidden = true;
    byId("stats").hidden = true;
    byId("who").textContent = "";
    byId("token").focus();
  }
}

function countDown(delayMs) {
  const until = performance.now() + delayMs;
  const show = () => {
    const s = Math.max(0, Math.ceil((until - performance.now()) / 1000));
    byId("state-text").textContent = text("state_waiting", { s });
  };
  show();
  countdown = setInterval(show, 500);
}

function showStats(stats) {
  const box = byId("stats");
  box.hidden = false;
  box.replaceChildren(
    ...STATS.map(([name, read]) =>
      h(
        "div",
        {},
        h("dt", {}, text(name)),
        h("dd", {}, (read(stats) ?? 0).toLocaleString(LANGUAGE, { maximumFractionDigits: 1 })),
      ),
    ),
  );
}

function showBound() {
  const isBound = byId("endpoint").value === "session";
  byId("bound").hidden = !isBound;
  byId("bound-session").required = isBound;
}
