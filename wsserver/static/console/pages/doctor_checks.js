/** Checks of the server's answers: what is well, what is not, and what to do. Pure functions. */

import { ago, bytes, count, ms, number } from "../parts/format.js";
import { t } from "./doctor_texts.js";

const NEARLY = 0.9;
const UNLIMITED = 2 ** 31;
const SPARE = 436; // with the 64 that are reserved, the 500 above max_connections
const CLOCK_S = 5;
const LITTLE_BYTES = 1024 ** 3;
const NO_BYTES = 64 * 1024 ** 2;
const LATE_MS = 600_000;
const SETTINGS = {
  email: "smtp_url, mail_from",
  sms: "sms_url | apprise_urls",
  push: "vapid_private_key, vapid_subject",
};

/** @typedef {{name: string, state: "ok"|"warning"|"failed"|"skipped", text: string, advice?: string}} Finding */

const ok = (name, text) => ({ name, state: "ok", text });
const skipped = (name, text, advice = "") => ({ name, state: "skipped", text, advice });
const warning = (name, text, advice) => ({ name, state: "warning", text, advice });
const failed = (name, text, advice) => ({ name, state: "failed", text, advice });

/** Findings of how this browser reaches the server: of `/whoami`, and the time that it took. */
export function ofPath(identity, tookMs, location, now) {
  const found = [ok(t("api"), t("api_ok", { ms: ms(tookMs) }))];
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (location.protocol === "https:") found.push(ok(t("tls"), t("tls_ok")));
  else if (isLocal) found.push(ok(t("tls"), t("tls_local")));
  else found.push(warning(t("tls"), t("tls_missing"), t("tls_advice")));
  const { proxy, remote_ip: ip } = identity;
  const proxyText = t(`proxy_${proxy}`, { ip });
  found.push(
    proxy === "untrusted"
      ? warning(t("proxy"), proxyText, t("proxy_advice"))
      : ok(t("proxy"), proxyText),
  );
  const differsS = Math.abs(Date.parse(identity.server_time) + tookMs / 2 - now) / 1000;
  const clockText = t("clock_ok", { s: number(Math.round(differsS * 10) / 10) });
  found.push(
    differsS > CLOCK_S
      ? warning(t("clock"), clockText, t("clock_advice"))
      : ok(t("clock"), clockText),
  );
  return found;
}

/** Findings of `/nodes`. */
export function ofNodes({ nodes, unreachable = [] }) {
  const named = (list) => list.map(({ node }) => node).join(", ");
  const lost = nodes.filter(({ state }) => state === "lost");
  const versions = [
    ...new Set(nodes.filter(({ state }) => state !== "lost").map(({ version }) => version)),
  ];
  const found = [];
  if (unreachable.length)
    found.push(
      failed(
        t("nodes"),
        t("nodes_silent", { names: unreachable.join(", ") }),
        t("nodes_silent_advice"),
      ),
    );
  else if (lost.length)
    found.push(
      warning(t("nodes"), t("nodes_lost", { names: named(lost) }), t("nodes_lost_advice")),
    );
  else found.push(ok(t("nodes"), t("nodes_ok", { names: named(nodes) })));
  if (versions.length > 1)
    found.push(
      warning(
        t("versions"),
        t("versions_mixed", { versions: versions.join(", ") }),
        t("versions_advice"),
      ),
    );
  else found.push(ok(t("versions"), versions.join("")));
  return found;
}

/** Findings of `/health`: of the node that answered. */
export function ofHealth({ checks }) {
  const found = [];
  const { connections, loop, errors, database, broker, webhooks } = checks;
  if (connections) {
    const text = t("connections_of", {
      open: count(connections.open),
      limit: count(connections.limit),
    });
    if (!connections.ok) found.push(failed(t("connections"), text, t("connections_advice")));
    else if (connections.open >= NEARLY * connections.limit)
      found.push(warning(t("connections"), text, t("connections_advice")));
    else found.push(ok(t("connections"), text));
  }
  if (loop) {
    const text = t("loop_lag", { ms: ms(loop.lag_ms) });
    found.push(loop.ok ? ok(t("loop"), text) : failed(t("loop"), text, t("loop_advice")));
  }
  if (errors) {
    const values = { limit: `${number(errors.threshold * 100)} %`, s: number(errors.window_s) };
    found.push(
      errors.ok
        ? ok(t("errors"), t("errors_ok", values))
        : failed(t("errors"), t("errors_many", values), t("errors_advice")),
    );
  }
  if (database) found.push(ofDatabase(database));
  if (broker) {
    const kind = broker.kind ?? "";
    found.push(
      broker.ok
        ? ok(t("broker"), kind)
        : failed(t("broker"), `${kind} ${broker.last_error ?? ""}`, t("broker_advice")),
    );
  }
  if (webhooks) {
    const { waiting = 0, failed: lost = 0, dropped = 0 } = webhooks;
    const text = t("webhooks_of", {
      waiting: count(waiting),
      failed: count(lost),
      dropped: count(dropped),
    });
    if (!webhooks.ok) found.push(failed(t("webhooks"), text, t("webhooks_advice")));
    else
      found.push(
        lost || dropped
          ? warning(t("webhooks"), text, t("webhooks_advice"))
          : ok(t("webhooks"), text),
      );
  }
  return found;
}

function ofDatabase(database) {
  const values = {
    kind: database.kind,
    size: bytes(database.file_bytes),
    queued: count(database.queued),
    commit: ms(database.last_commit_ms),
  };
  const text = t("database_ok", values);
  if (!database.ok) return failed(t("database"), database.last_error ?? text, t("database_advice"));
  if (database.lost_writes)
    return warning(
      t("database"),
      `${text}; ${t("database_lost", { n: count(database.lost_writes) })}`,
      t("database_advice"),
    );
  return ok(t("database"), text);
}

/** Findings of `/diagnostics` of one node. */
export function ofNode(found) {
  return [
    ...ofDescriptors(found),
    ...ofDisk(found),
    ...ofStreams(found),
    ...ofClocks(found),
    ...ofSettings(found),
  ];
}

/** Findings of the channels, which are those of the whole server. */
export function ofChannels({ channels }, now) {
  return Object.entries(channels ?? {}).map(([name, channel]) => {
    const title = t("channel", { name });
    const values = { waiting: count(channel.waiting), failed: count(channel.failed) };
    if (!channel.configured) {
      const text = channel.not_configured
        ? t("channel_untried", { n: count(channel.not_configured) })
        : t("channel_off");
      return skipped(title, text, t("channel_settings", { settings: SETTINGS[name] ?? name }));
    }
    if (channel.failed) return warning(title, t("channel_of", values), t("channel_advice"));
    if (channel.due_since && now - Date.parse(channel.due_since) > LATE_MS) {
      return warning(
        title,
        t("channel_late", { ...values, since: ago(channel.due_since) }),
        t("channel_advice"),
      );
    }
    return ok(title, t("channel_of", values));
  });
}

function ofDescriptors({ descriptors, max_connections: most }) {
  if (!descriptors) return [];
  const { open, limit, kept_back: keptBack } = descriptors;
  const text = t("descriptors_of", {
    open: count(open),
    limit: limit >= UNLIMITED ? "∞" : count(limit),
  });
  const advice = t("descriptors_advice", { wanted: most + keptBack + SPARE });
  if (limit >= UNLIMITED) return [ok(t("descriptors"), text)];
  if (open >= limit - keptBack) return [failed(t("descriptors"), text, advice)];
  if (limit < most + keptBack) {
    const few = t("descriptors_few", {
      open: count(open),
      limit: count(limit),
      reach: count(limit - keptBack),
      most: count(most),
    });
    return [warning(t("descriptors"), few, advice)];
  }
  return [
    open >= NEARLY * (limit - keptBack)
      ? warning(t("descriptors"), text, advice)
      : ok(t("descriptors"), text),
  ];
}

function ofDisk({ database }) {
  if (!database) return [];
  const { free_bytes: free, total_bytes: total, file_bytes: size } = database;
  if (free === null || total === null) return [skipped(t("disk"), t("disk_elsewhere"))];
  const text = t("disk_of", { free: bytes(free), total: bytes(total) });
  if (free < NO_BYTES) return [failed(t("disk"), text, t("disk_advice"))];
  const isLittle = free < LITTLE_BYTES || free < 2 * (size ?? 0);
  return [isLittle ? warning(t("disk"), text, t("disk_advice")) : ok(t("disk"), text)];
}

function ofStreams({ streams }) {
  if (!streams) return [];
  const values = {
    streams: count(streams.streams),
    messages: count(streams.messages),
    late: count(streams.late),
  };
  if (streams.late) return [warning(t("streams"), t("streams_late", values), t("streams_advice"))];
  return [ok(t("streams"), t("streams_ok", values))];
}

function ofClocks({ clocks }) {
  const ahead = { ...clocks?.nodes };
  if (typeof clocks?.redis === "number") ahead.Redis = clocks.redis;
  if (typeof clocks?.database === "number") ahead.PostgreSQL = clocks.database;
  const known = Object.entries(ahead);
  if (!known.length) return [];
  const wrong = known.filter(([, seconds]) => Math.abs(seconds) > CLOCK_S);
  if (wrong.length) {
    const names = wrong.map(([name, seconds]) => `${name} ${number(seconds)} s`).join(", ");
    return [warning(t("clocks"), t("clocks_wrong", { names }), t("clocks_advice"))];
  }
  const most = Math.max(...known.map(([, seconds]) => Math.abs(seconds)));
  return [ok(t("clocks"), t("clocks_ok", { s: number(most) }))];
}

/** Settings that all nodes have to share, compared by the server. */
function ofSettings({ differing_settings: differing }) {
  const nodes = Object.entries(differing ?? {});
  if (!nodes.length) return [];
  const names = nodes.map(([node, settings]) => `${node}: ${settings.join(", ")}`).join("; ");
  return [warning(t("settings"), t("settings_differ", { names }), t("settings_advice"))];
}
