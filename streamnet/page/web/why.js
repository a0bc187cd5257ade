"use strict";
// Why: which columns matter, whether probabilities can be trusted, and the biggest recent errors.

const MOST_COLUMNS = 15; // of the importance
const MOST_VALUES = 8; // of a sample in the table of errors

class Why {
  constructor({
    importance,
    importanceNote,
    changed,
    trust,
    trustTitle,
    trustNote,
    errors,
    errorsNote,
  }) {
    this.changed = changed;
    this.importance = importance;
    this.importanceNote = importanceNote;
    this.trust = trust;
    this.trustTitle = trustTitle;
    this.trustNote = trustNote;
    this.errors = errors;
    this.errorsNote = errorsNote;
  }

  show(insight, outcomes, features) {
    this.showImportance(insight);
    this.showChanged(features ?? []);
    this.showErrors(insight);
    this.showTrust(outcomes);
  }

  showImportance(insight) {
    const columns = (insight?.importance ?? []).slice(0, MOST_COLUMNS);
    cardOf(this.importance).hidden = !columns.length;
    if (!columns.length) return;
    cardOf(this.importance).classList.toggle("wide", insight.task === "regression");
    // A full bar is at least one point: what is next to nothing must not look like something.
    const most = Math.max(columns[0].loss, insight.task === "regression" ? 1e-12 : 0.01);
    const format =
      insight.task === "regression" ? digits : (loss) => `${(Math.round(1000 * loss) / 10 || 0).toFixed(1)} points`;
    const what = insight.task === "regression" ? "mean absolute error" : "probability of the truth";
    this.importanceNote.textContent = `by how much worse the ${what} gets if a column is shuffled among the last ${plural(insight.permuted, "sample")}`;
    fill(
      this.importance,
      ...columns.map(({ column, loss }) => bar(column, loss / most, format(loss))),
    );
  }

  /** The columns whose values are distributed the most unlike the first ones. */
  showChanged(features) {
    const known = features.filter(({ drift }) => isNumber(drift));
    cardOf(this.changed).hidden = !known.length;
    const most = known.sort((a, b) => b.drift - a.drift).slice(0, MOST_COLUMNS);
    fill(this.changed, ...most.map((one) => bar(one.name, one.drift, changeOfColumn(one))));
  }

  showErrors(insight) {
    const errors = insight?.errors ?? [];
    cardOf(this.errors).hidden = !errors.length;
    if (!errors.length) return;
    this.errorsNote.textContent = `of the last ${plural(insight.samples, "sample")} whose truth is known`;
    const numbers = insight.task === "regression";
    const head = ["Sample", "Predicted", "Truth", numbers ? "Off by" : "Truth had", "Values"];
    const rows = errors.map(({ number, prediction, truth, error, sample }) => [
      whole(number),
      isNumber(prediction) ? digits(prediction) : prediction,
      String(truth), // as it was sent: it may be a year or an id
      numbers ? digits(error) : percent(1 - error),
      valuesOf(sample),
    ]);
    fill(
      this.errors.tHead.rows[0],
      ...head.map((name) => element("th", { scope: "col" }, name)),
    );
    fill(
      this.errors.tBodies[0],
      ...rows.map((row) => element("tr", {}, ...row.map((text) => element("td", {}, text)))),
    );
  }

  /** The calibration curve of labels, or predictions of numbers against the truth. */
  showTrust(outcomes) {
    const calibration = outcomes?.calibration ?? [];
    const pairs = outcomes?.pairs ?? [];
    cardOf(this.trust).hidden = !calibration.length && !pairs.length;
    if (calibration.length) {
      this.trustTitle.textContent = "Can probabilities be trusted?";
      this.trustNote.textContent = trustInWords(calibration);
      const points = calibration.map(({ predicted, observed, samples }) => ({
        x: predicted,
        y: observed,
        title: `${percent(predicted)} predicted, ${percent(observed)} true, ${plural(samples, "probability", "probabilities")}`,
      }));
      fill(this.trust, plotOf(points, [0, 1], (value) => percent(value, 0), ["predicted probability", "how often true"], true));
    } else if (pairs.length) {
      this.trustTitle.textContent = "Predicted against actual";
      this.trustNote.textContent = `the last ${plural(pairs.length, "sample")}; on the line, the prediction was right`;
      const values = pairs.flat();
      const range = [Math.min(...values), Math.max(...values)];
      const points = pairs.map(([x, y]) => ({ x, y, title: `${digits(y)} for ${digits(x)}` }));
      fill(this.trust, plotOf(points, range, digits, ["actual", "predicted"], false));
    }
  }
}

function changeOfColumn({ drift, missing, reference_missing: before }) {
  const differs = isNumber(missing) && isNumber(before) && Math.abs(missing - before) > 0.01;
  return `${drift.toFixed(2)}${differs ? `; ${percent(missing, 0)} missing, at first ${percent(before, 0)}` : ""}`;
}

function cardOf(node) {
  return node.closest(".card");
}

function valuesOf(sample) {
  const entries = Object.entries(sample);
  const shown = entries.slice(0, MOST_VALUES).map(([name, value]) => `${name} ${value}`);
  const more = entries.length - shown.length;
  return shown.join(", ") + (more > 0 ? `, and ${plural(more, "more column")}` : "");
}

/** The point that most probabilities are furthest from the line at, in words. */
function trustInWords(calibration) {
  const all = calibration.reduce((sum, one) => sum + one.samples, 0);
  const off = calibration.reduce(
    (sum, one) => sum + (one.samples * Math.abs(one.predicted - one.observed)) / all,
    0,
  );
  const judged = off < 0.02 ? "yes" : off < 0.06 ? "mostly" : "with care";
  return `${judged}: on average they are off by ${(100 * off).toFixed(1)} points`;
}

const PLOT = { width: 420, height: 300, left: 58, right: 24, top: 26, bottom: 40 };

/** Points on equal axes with a diagonal, as SVG; a line joins them if they are a curve. */
function plotOf(points, [low, high], format, [xName, yName], joined) {
  const size = high - low || 1;
  const x = (value) => PLOT.left + ((value - low) / size) * (PLOT.width - PLOT.left - PLOT.right);
  const y = (value) =>
    PLOT.height - PLOT.bottom - ((value - low) / size) * (PLOT.height - PLOT.top - PLOT.bottom);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => low + part * size);
  const path = points.map((one, i) => `${i ? "L" : "M"}${x(one.x)} ${y(one.y)}`).join("");
  return svgElement(
    "svg",
    {
      class: "plot",
      viewBox: `0 0 ${PLOT.width} ${PLOT.height}`,
      role: "img",
      "aria-label": `${yName} against ${xName}, ${plural(points.length, "point")}`,
    },
    ...ticks.flatMap((tick) => [
      svgElement("line", { class: "grid", x1: x(tick), x2: x(tick), y1: y(low), y2: y(high) }),
      svgElement("line", { class: "grid", x1: x(low), x2: x(high), y1: y(tick), y2: y(tick) }),
      svgElement("text", { x: x(tick), y: PLOT.height - 24, "text-anchor": "middle" }, format(tick)),
      svgElement("text", { x: PLOT.left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    ]),
    svgElement("text", { x: x(low + size / 2), y: PLOT.height - 6, "text-anchor": "middle" }, xName),
    svgElement("text", { x: 4, y: 4, class: "name" }, yName),
    svgElement("line", { class: "diagonal", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }),
    joined ? svgElement("path", { d: path }) : null,
    ...points.map((one) =>
      svgElement("circle", { cx: x(one.x), cy: y(one.y), r: joined ? 4 : 2.6 }, svgElement("title", {}, one.title)),
    ),
  );
}

/** As `element`, of SVG. */
function svgElement(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}
