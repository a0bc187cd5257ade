"use strict";
// The headline: how good the last predictions were, how that changed, and what it means in words.

const HOUR = 3600; // seconds, back to which the change reaches

class Headline {
  constructor({ card, title, score, change, text }) {
    this.card = card;
    this.title = title;
    this.score = score;
    this.change = change;
    this.text = text;
  }

  show(status, history) {
    const { measure, served } = status;
    this.card.hidden = !isNumber(served);
    if (this.card.hidden) return;
    const { score, baselines, count } = latelyOf(status);
    this.title.textContent = `${measureName(measure)} of ${count < status.scored ? `the last ${whole(count)}` : "all"} samples`;
    this.score.textContent = scored(measure, score);
    const change = changeOf(measure, score, history);
    this.change.textContent = change?.text ?? "";
    this.change.dataset.tone = change?.tone ?? "";
    this.text.textContent = inWords(measure, score, bestOf(measure, baselines), count);
  }
}

/** Score and baselines of the last samples if the status has them, else of all. */
function latelyOf(status) {
  const { served, baselines, sliding, scored: count } = status;
  if (!isNumber(sliding?.served)) return { score: served, baselines, count };
  return { score: sliding.served, baselines: sliding.baselines, count: sliding.samples };
}

/** The change of a score against an hour ago, for which the history has to know the times. */
function changeOf(measure, score, history) {
  const before = scoreBefore(history, HOUR);
  const better = gain(measure, score, before);
  if (better === null) return null;
  const size = Math.abs(score - before);
  const text = isPercentage(measure) ? `${(100 * size).toFixed(1)} points` : digits(size);
  if (size < (isPercentage(measure) ? 5e-4 : 5e-3 * Math.abs(before)))
    return { text: "as an hour ago", tone: "" };
  const direction = score > before ? "▲" : "▼";
  return {
    text: `${direction} ${text} ${better > 0 ? "better" : "worse"} than an hour ago`,
    tone: better > 0 ? "good" : "bad",
  };
}

/** The served score between one and two spans of seconds before the end; null if unknown. */
function scoreBefore(history, span) {
  const { times = [], samples, series } = history?.timed ?? {};
  if (!times.length) return null;
  const end = times.at(-1) - span;
  let last = times.length - 1;
  while (last >= 0 && times[last] > end) last -= 1;
  if (last < 0) return null;
  let first = last;
  while (first > 0 && times[first - 1] > end - span) first -= 1;
  const { sums, counts } = summed(samples, series.served);
  return between(sums, counts, first - 1, last);
}

/** What a score means, beside that of the best baseline. */
function inWords(measure, score, best, count) {
  if (measure === "accuracy") {
    const of = count < 2000 ? count : 1000;
    const right = Math.round(score * of);
    const said = `${whole(right)} of ${count > of ? "every " : ""}${whole(of)} predictions were right.`;
    if (!best) return said;
    const other = Math.round(best[1] * of);
    return `${said} ${baselineName(best[0])} gets ${whole(other)}: ${differenceOf(right - other, "right")}`;
  }
  const said = `Predictions were off by ${digits(score)} on average.`;
  if (!best || !(best[1] > 0)) return said;
  const less = 1 - score / best[1];
  const than = `${percent(Math.abs(less), 0)} ${less >= 0 ? "less" : "more"}`;
  return `${said} ${baselineName(best[0])} is off by ${digits(best[1])}: the model errs ${than}.`;
}

function differenceOf(more, what) {
  if (!more) return "no difference.";
  return `the model has ${whole(Math.abs(more))} ${more > 0 ? "more" : "fewer"} ${what}.`;
}

const BASELINES = {
  majority: "Always predicting the most frequent label",
  mean: "Always predicting the mean so far",
  no_change: "Repeating the last target",
  seasonal_no_change: "Repeating the target of a season ago",
};

/** What a baseline does, as the start of a sentence. */
function baselineName(name) {
  return BASELINES[name] ?? `The baseline "${words(name)}"`;
}
