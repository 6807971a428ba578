/** Geometry of plots: ticks, paths, the point nearest to a time. Pure functions. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIME_STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 5, 10].map((n) => n * DAY),
];
const GAP = 3; // points further apart than so many usual distances are not connected,
const SMALLEST_GAP = 3 * MINUTE + 5 * SECOND; // unless it is only the time between two snapshots

/** Values for a y axis from 0 that reaches at least `max`: about `wanted` steps of 1, 2, 2.5 or 5. */
export function valueTicks(max, wanted, { isBinary = false, isWhole = false } = {}) {
  let top = max > 0 ? max : 1;
  let unit = 1;
  if (isBinary) {
    while (top / unit >= 1024) unit *= 1024;
    top /= unit;
  }
  const rough = top / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999) ?? 10 * power;
  if (isWhole) step = Math.max(1, Math.ceil(step));
  const count = Math.max(1, Math.ceil(top / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, n) => n * step * unit);
}

/** Times for an x axis, on round local times; `at`: milliseconds, `step`: between them. */
export function timeTicks(from, to, wanted) {
  const rough = (to - from) / Math.max(1, wanted);
  const step = TIME_STEPS.find((each) => each >= rough) ?? TIME_STEPS.at(-1);
  const shift = new Date(from).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step)
    ticks.push(at);
  return { ticks, step };
}

/** The distance that most neighbouring points have. */
export function usualStep(times) {
  if (times.length < 2) return Infinity;
  const steps = times.slice(1).map((time, n) => time - times[n]);
  return steps.sort((a, b) => a - b)[steps.length >> 1];
}

/** Runs of points without a hole: lists of indexes. */
export function runsOf(times, values) {
  const limit = Math.max(usualStep(times) * GAP, SMALLEST_GAP);
  const runs = [];
  let run = [];
  for (let n = 0; n < times.length; n += 1) {
    const isMissing = values[n] === null || values[n] === undefined;
    if (run.length && (isMissing || times[n] - times[n - 1] > limit)) {
      runs.push(run);
      run = [];
    }
    if (!isMissing) run.push(n);
  }
  if (run.length) runs.push(run);
  return runs;
}

/** The path of a line through a run; a lone point becomes a dot. */
export function linePath(run, x, y) {
  const points = run.map((n) => `${x(n).toFixed(1)} ${y(n).toFixed(1)}`);
  return run.length === 1 ? `M${points[0]}h.01` : `M${points.join("L")}`;
}

/** The path of the area between a run and the base line. */
export function areaPath(run, x, y, base) {
  const first = x(run[0]).toFixed(1);
  const last = x(run.at(-1)).toFixed(1);
  return `${linePath(run, x, y)}L${last} ${base}L${first} ${base}Z`;
}

/** The index of the time nearest to another one; -1 without times. */
export function nearest(times, wanted) {
  if (!times.length) return -1;
  let low = 0;
  let high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  if (low > 0 && wanted - times[low - 1] < times[low] - wanted) low -= 1;
  return low;
}

/** The largest of some lists of numbers, at least 0. */
export function maximum(lists) {
  let top = 0;
  for (const list of lists) for (const value of list) if (value > top) top = value;
  return top;
}

/** At most `limit` indexes, evenly spread, the last one included. */
export function spread(length, limit) {
  if (length <= limit) return Array.from({ length }, (_, n) => n);
  const step = (length - 1) / (limit - 1);
  return Array.from({ length: limit }, (_, n) => Math.round(n * step));
}
