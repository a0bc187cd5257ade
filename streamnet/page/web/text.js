"use strict";
// Formatting and DOM helpers. Everything from a server or a report is text, never markup: labels and
// rejected records come from whoever sends samples, and may be hostile.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const TICKS = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** An element with attributes and children; strings become text. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function whole(value) {
  return isNumber(value) ? WHOLE.format(value) : "–";
}

function compact(value) {
  return isNumber(value) ? COMPACT.format(value) : "–";
}

function digits(value) {
  if (!isNumber(value)) return "–";
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : DIGITS.format(value);
}

/** A fraction as a percentage. */
function percent(value, places = 1) {
  return isNumber(value) ? `${(100 * value).toFixed(places)} %` : "–";
}

/** The value of a metric, formatted. */
function scored(measure, value) {
  return isPercentage(measure) ? percent(value) : digits(value);
}

/** Seconds in the largest suitable unit: 0.4 s, 12 s, 5 min, 3 h, 2 d. */
function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 10) return `${DIGITS.format(Math.round(10 * seconds) / 10)} s`;
  const units = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const [size, unit] = units.find(([size]) => seconds >= size);
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** A moment in seconds since 1970: the time of day, with the date unless it is today. */
function moment(time) {
  if (!isNumber(time)) return "";
  const date = new Date(1000 * time);
  const day = dayOf(date) === dayOf(new Date()) ? "" : `${dayOf(date)} `;
  return `${day}${date.toLocaleTimeString("en-GB")}`;
}

function dayOf(date) {
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year });
}

/** How long ago something was, in words. */
function ago(seconds) {
  if (!isNumber(seconds)) return "–";
  return seconds < 1 ? "just now" : `${duration(Math.max(1, Math.round(seconds)))} ago`;
}

/** A name of the API as words: `no_change` is "no change". */
function words(name) {
  return String(name).replaceAll("_", " ");
}

/** The title of a metric, from metrics.js. */
function measureName(measure) {
  return METRICS[measure]?.title ?? words(measure);
}

function isPercentage(measure) {
  return METRICS[measure]?.percentage ?? false;
}

function largerIsBetter(measure) {
  return METRICS[measure]?.larger_is_better ?? false;
}

/** How much better one value of a metric is than another: negative if it is worse. */
function gain(measure, value, other) {
  if (!isNumber(value) || !isNumber(other)) return null;
  return largerIsBetter(measure) ? value - other : other - value;
}

/** The name and value of the best of several scores, `{name: value}`; null without any. */
function bestOf(measure, scores) {
  const known = Object.entries(scores ?? {}).filter(([, value]) => isNumber(value));
  if (!known.length) return null;
  return known.reduce((best, one) => (gain(measure, one[1], best[1]) > 0 ? one : best));
}

function capitalized(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `1 sample`, `2 samples`. */
function plural(count, name, several = `${name}s`) {
  return `${whole(count)} ${count === 1 ? name : several}`;
}

const shown = new WeakMap();

/** Call `render` only if the data changed, so that focus and selection survive. */
function whenChanged(host, data, render) {
  const text = JSON.stringify(data ?? null);
  if (shown.get(host) === text) return;
  shown.set(host, text);
  render();
}

function fill(host, ...children) {
  host.replaceChildren(...children.filter((child) => child !== null));
}

/** A share as a bar with its name and value. */
function bar(name, share, value) {
  const level = element("span", { class: "level" });
  level.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element(
    "div",
    { class: "bar" },
    element("span", { class: "bar-name" }, name),
    element("span", { class: "track", "aria-hidden": "true" }, level),
    element("span", { class: "bar-value" }, value),
  );
}
