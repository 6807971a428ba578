/** Statistics over time: points from stored snapshots and from the live feed, rates from counters. */

const KEPT_MS = 16 * 60_000;
const PREFIXES = { rates: "" };

/** Nested statistics as one level: `deliver_ms_p99`; rates have no prefix, as in snapshots. */
export function flatten(stats, prefix = "") {
  const flat = {};
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value === "number") flat[prefix + name] = value;
    else if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      Object.assign(flat, flatten(value, prefix + (PREFIXES[name] ?? `${name}_`)));
    }
  }
  return flat;
}

/** Points of the last quarter of an hour, of all pages that have been shown since the console was opened. */
export class LivePoints {
  points = [];

  /** Add statistics as of now, or as of their timestamp. */
  add(stats, at = Date.now()) {
    const last = this.points.at(-1);
    if (last && at <= last.at) return;
    this.points.push({ at, ...flatten(stats) });
    const oldest = at - KEPT_MS;
    while (this.points[0].at < oldest) this.points.shift();
  }
}

/**
 * Points of stored snapshots, ascending; those of several nodes at one time are summed.
 *
 * Percentiles are not summed: the largest counts, as in the statistics of all nodes together.
 */
export function pointsOf(snapshots) {
  const points = [];
  for (const snapshot of snapshots) {
    const at = Date.parse(snapshot.timestamp);
    const point = { at, ...flatten(snapshot) };
    const last = points.at(-1);
    if (last?.at === at) mergeInto(last, point);
    else points.push(point);
  }
  return points;
}

/**
 * Stored points followed by live ones, which are at least `spacing` ms apart; the last one is kept.
 *
 * Stored ones of the time of the live ones are left out.
 */
export function joined(stored, live, spacing) {
  const first = live[0]?.at ?? Infinity;
  const points = stored.filter(({ at }) => at < first - 1000);
  let latest = -Infinity;
  for (const point of live) {
    if (point.at - latest < spacing && point !== live.at(-1)) continue;
    points.push(point);
    latest = point.at;
  }
  return points;
}

/** Reads a number as it is. */
export const gauge = (name) => (point) => point[name];

/** Reads how much counters grew a second since the point before; null where they began anew. */
export function rate(...names) {
  return (point, before) => {
    if (!before) return null;
    const seconds = (point.at - before.at) / 1000;
    let sum = null;
    for (const name of names) {
      const grown = point[name] - before[name];
      if (Number.isNaN(grown)) continue; // not counted then
      if (grown < 0) return null;
      sum = (sum ?? 0) + grown;
    }
    return sum === null || seconds <= 0 ? null : sum / seconds;
  };
}

/** The columns of a plot between two times: `times`, and `values` by the key of the series. */
export function columns(points, series, from, to) {
  const times = [];
  const values = Object.fromEntries(series.map(({ key }) => [key, []]));
  for (let n = 0; n < points.length; n += 1) {
    const point = points[n];
    if (point.at < from || point.at > to) continue;
    times.push(point.at);
    for (const { key, read } of series) values[key].push(read(point, points[n - 1]) ?? null);
  }
  return { times, values, from, to };
}

function mergeInto(target, point) {
  for (const [name, value] of Object.entries(point)) {
    if (name === "at") continue;
    const isPercentile = /_(p\d+|max)$/.test(name);
    const known = target[name];
    if (known === undefined) target[name] = value;
    else target[name] = isPercentile ? Math.max(known, value) : known + value;
  }
}
