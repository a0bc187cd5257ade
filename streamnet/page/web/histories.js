"use strict";
// Histories: the score over the whole stream, or by the clock, and parts and means of them.

const MOST_POINTS = 2000; // of a history, whatever a server sends

/**
 * The part of a history to draw, by sample or by the clock, of the last seconds or all ("all"):
 * `x` places its points and marks, `before` is how many samples precede it.
 */
function partOf(history, axis, range) {
  const { timed, marks } = history;
  if (!timed || (axis === "samples" && range === "all")) {
    const { samples, series } = thinned(history);
    const x = samples;
    return { ...history, samples, series, x, before: 0, marks: marks.map(markAtSample) };
  }
  const { times, samples, series } = timed;
  const since = range === "all" ? 0 : Date.now() / 1000 - Number(range);
  const found = times.findIndex((time) => time >= since);
  const first = found < 0 ? times.length : found;
  const before = first ? samples[first - 1] : 0;
  const inside = marks.filter((mark) => mark.number >= before);
  return {
    ...history,
    samples: samples.slice(first),
    series: mapped(series, (values) => values.slice(first)),
    times: times.slice(first),
    x: (axis === "time" ? times : samples).slice(first),
    before,
    marks: axis === "time" ? inside.map((mark) => markAtTime(mark, timed)) : inside.map(markAtSample),
  };
}

function markAtSample(mark) {
  return { ...mark, x: mark.number };
}

/** A mark at the time at which its sample was scored, as far as is known. */
function markAtTime(mark, { times, samples }) {
  const at = samples.findIndex((sample) => sample >= mark.number);
  if (at <= 0) return { ...mark, x: times.at(at) };
  const share = (mark.number - samples[at - 1]) / (samples[at] - samples[at - 1]);
  return { ...mark, x: times[at - 1] + share * (times[at] - times[at - 1]) };
}

/** Times on an axis, each day's first one with its date. */
function timeTicks(ticks) {
  const dates = ticks.map((tick) => new Date(1000 * tick));
  const fine = ticks.length > 1 && ticks[1] - ticks[0] < 60;
  const style = { hour: "2-digit", minute: "2-digit", second: fine ? "2-digit" : undefined };
  const days = dates.map(dayOf);
  return dates.map((date, i) => {
    const time = date.toLocaleTimeString("en-GB", style);
    if (i && days[i] === days[i - 1]) return time;
    return time === "00:00" ? days[i] : `${time}\n${days[i]}`;
  });
}

function mapped(series, change) {
  return Object.fromEntries(Object.entries(series).map(([name, values]) => [name, change(values)]));
}

/** At most `MOST_POINTS` of a history's points, each the mean of the points it replaces. */
function thinned(history) {
  const { samples } = history;
  const step = Math.ceil(samples.length / MOST_POINTS);
  if (step <= 1) return history;
  const last = samples.length - 1;
  const kept = samples.map((_, i) => i).filter((i) => (last - i) % step === 0);
  const series = mapped(history.series, (values) => {
    const { sums, counts } = summed(samples, values);
    return kept.map((i, place) => between(sums, counts, place ? kept[place - 1] : -1, i));
  });
  return { ...history, samples: kept.map((i) => samples[i]), series };
}

/** Cumulative sums; a history's points are means over the samples since the previous point. */
function summed(samples, values, before = 0) {
  let sum = 0;
  let count = 0;
  const sums = [];
  const counts = [];
  values.forEach((value, i) => {
    if (isNumber(value)) {
      const since = samples[i] - (i ? samples[i - 1] : before);
      sum += value * since;
      count += since;
    }
    sums.push(sum);
    counts.push(count);
  });
  return { sums, counts };
}

/** The mean over the samples after point `start` (-1: all) up to point `end`. */
function between(sums, counts, start, end) {
  const count = counts[end] - (start < 0 ? 0 : counts[start]);
  return count > 0 ? (sums[end] - (start < 0 ? 0 : sums[start])) / count : null;
}

/** The mean up to each point, over the last fiftieth of the samples or over all of them. */
function smoothed({ samples, before }, values, stretch) {
  const { sums, counts } = summed(samples, values, before);
  if (stretch === "overall") return values.map((_, i) => between(sums, counts, -1, i));
  const least = (samples.at(-1) - before) / 50;
  let start = -1;
  return values.map((_, i) => {
    while (start + 1 < i && samples[i] - samples[start + 1] >= least) start += 1;
    return between(sums, counts, start, i);
  });
}
