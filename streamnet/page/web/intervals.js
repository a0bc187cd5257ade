"use strict";
// Prediction intervals of numbers, or sets of labels: how many truths they hold, and their size.

class Intervals {
  constructor({ card, title, note, legend, curve, table }) {
    this.card = card;
    this.title = title;
    this.note = note;
    this.table = table;
    this.curve = new CurveChart(curve, legend, "Point of the coverage");
  }

  /** Show the metrics of a status, and the coverage of its history. */
  show({ task, intervals }, history) {
    this.card.hidden = !intervals;
    if (!intervals) return;
    const { level, recent, overall, sliding } = intervals;
    this.title.textContent =
      task === "classification" ? "Prediction sets" : "Prediction intervals";
    this.note.textContent = `should hold ${DIGITS.format(100 * level)} % of the truths`;
    fill(
      this.table.tHead.rows[0],
      ...["", "overall", `last ${whole(recent)}`].map((name) =>
        element("th", { scope: "col" }, name),
      ),
    );
    fill(
      this.table.tBodies[0],
      ...Object.entries(overall).map(([name, value]) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, measureName(name)),
          element("td", {}, scored(name, value)),
          element("td", {}, scored(name, sliding[name])),
        ),
      ),
    );
    const { samples = [], series = {} } = history?.intervals ?? {};
    this.curve.show({
      measure: "coverage",
      samples,
      series: { coverage: series.coverage ?? [], level: samples.map(() => level) },
      marks: [],
    });
  }
}
