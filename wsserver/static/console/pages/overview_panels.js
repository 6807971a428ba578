/** What the overview plots: one entry for each panel and tile. */

import { bytes, compact, count, ms, number } from "../parts/format.js";
import { gauge, rate } from "../parts/stats_points.js";
import { t } from "./overview_texts.js";

const CHANNELS = ["websocket", "email", "sms", "push"];

const series = (key, label, read) => ({ key, label: t(label), read });
const percentiles = (name) =>
  ["p50", "p95", "p99"].map((each) => series(each, each, gauge(`${name}_${each}`)));
const notified = (figure) =>
  perMinute(...CHANNELS.map((channel) => `notifications_${channel}_${figure}`));
const perMinute = (...names) => {
  const perSecond = rate(...names);
  return (point, before) => {
    const value = perSecond(point, before);
    return value === null ? null : value * 60;
  };
};

/** The plots, in their order; `needs`: a counter; while it is 0 there is no such plot. */
export const PANELS = [
  {
    title: t("connections"),
    isWhole: true,
    isArea: true,
    format: count,
    axis: compact,
    series: [
      series("open", "open", gauge("total_connections")),
      series("active", "active", gauge("active_connections")),
    ],
  },
  {
    title: t("users_and_sessions"),
    isWhole: true,
    format: count,
    axis: compact,
    series: [
      series("users", "users", gauge("active_users")),
      series("sessions", "sessions", gauge("active_sessions")),
    ],
  },
  {
    title: t("messages"),
    isArea: true,
    format: number,
    axis: compact,
    series: [
      series("out", "out", rate("messages_sent")),
      series("in", "in", rate("messages_received")),
    ],
  },
  {
    title: t("deliver"),
    format: ms,
    series: percentiles("deliver_ms"),
  },
  {
    title: t("round_trip"),
    format: ms,
    series: percentiles("rtt_ms"),
  },
  {
    title: t("errors"),
    format: number,
    axis: compact,
    series: [
      series("refused_commands", "refused_commands", rate("refused_commands")),
      series("failed_sends", "failed_sends", rate("failed_sends")),
      series("internal_errors", "internal_errors", rate("internal_errors")),
    ],
  },
  {
    title: t("comings"),
    format: number,
    axis: compact,
    series: [
      series("connects", "connects", rate("connects")),
      series("disconnects", "disconnects", rate("disconnections")),
    ],
  },
  {
    title: t("queued"),
    isArea: true,
    isBinary: true,
    format: bytes,
    series: [series("queued_bytes", "queued_bytes", gauge("queued_bytes"))],
  },
  {
    title: t("notifications"),
    format: number,
    axis: compact,
    series: ["sent", "failed", "retried", "acknowledged"].map((figure) =>
      series(figure, figure, notified(figure)),
    ),
  },
  {
    title: t("answers"),
    needs: "answers_begun",
    format: number,
    axis: compact,
    series: [
      series("growing", "growing", gauge("answers_growing")),
      series("begun", "begun", perMinute("answers_begun")),
      series(
        "given_up",
        "given_up",
        perMinute("answers_failed", "answers_cancelled", "answers_interrupted"),
      ),
    ],
  },
];

/** The figures in large type above the plots. */
export const TILES = [
  { label: t("connections"), format: count, read: gauge("total_connections"), page: "connections" },
  { label: t("users"), format: count, read: gauge("active_users"), page: "users" },
  { label: t("sessions"), format: count, read: gauge("active_sessions"), page: "sessions" },
  { label: t("tile_sent"), format: number, read: rate("messages_sent") },
  { label: t("tile_received"), format: number, read: rate("messages_received") },
  { label: t("tile_errors"), format: number, read: rate("errors"), isBad: (value) => value > 0 },
  { label: t("tile_deliver"), format: ms, read: gauge("deliver_ms_p99") },
  { label: t("tile_queued"), format: bytes, read: gauge("queued_bytes") },
];
