"use strict";
// The confusion matrix as a heat map, or the residuals as a histogram.

class Outcomes {
  constructor(host, title, note) {
    this.host = host;
    this.title = title;
    this.note = note;
    this.histogram = null;
    this.last = null;
  }

  show(outcomes) {
    this.last = outcomes;
    this.histogram?.destroy();
    this.histogram = null;
    if (outcomes?.kind === "confusion" && outcomes.labels.length) this.confusion(outcomes);
    else if (outcomes?.kind === "residuals" && outcomes.counts.some((count) => count > 0))
      this.residuals(outcomes);
    else fill(this.host, element("p", { class: "empty" }, "No sample has been scored yet."));
  }

  recolour() {
    if (this.last?.kind === "residuals") this.show(this.last);
  }

  residuals(outcomes) {
    this.title.textContent = "Residuals";
    this.note.textContent = "prediction minus truth";
    const chart = element("div", {
      class: "chart",
      role: "img",
      "aria-label": residualsInWords(outcomes),
    });
    fill(this.host, chart);
    this.histogram = new Histogram(chart);
    this.histogram.draw(outcomes);
  }

  confusion({ labels, matrix, areas }) {
    const measured = Object.entries(areas ?? {});
    this.title.textContent = "Confusion matrix";
    this.note.textContent = "rows: truth, columns: prediction";
    const head = element(
      "tr",
      {},
      element("td", {}),
      ...labels.map((label) => element("th", { scope: "col" }, label)),
      element("th", { scope: "col" }, "recall"),
      ...measured.map(([name]) => element("th", { scope: "col" }, measureName(name))),
    );
    const rows = matrix.map((row, i) => {
      const total = row.reduce((sum, count) => sum + count, 0);
      const cells = row.map((count, j) => cell(count, total, i === j));
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, labels[i]),
        ...cells,
        element("td", { class: "number" }, total ? percent(row[i] / total) : "–"),
        ...measured.map(([, values]) => element("td", { class: "number" }, digits(values[i]))),
      );
    });
    const table = element(
      "table",
      { class: `heat ${labels.length > 12 ? "dense" : labels.length < 5 ? "large" : ""}` },
      element("thead", {}, head),
      element("tbody", {}, ...rows),
    );
    fill(this.host, table);
  }
}

/** A cell shaded by its share of the row; the diagonal has the colour of correct predictions. */
function cell(count, total, right) {
  const share = total ? count / total : 0;
  const node = element(
    "td",
    {
      class: `number ${right ? "right" : "wrong"}${share > 0.5 ? " strong" : ""}`,
      title: `${percent(share)} of the row`,
    },
    compact(count),
  );
  node.style.setProperty("--share", `${Math.round(100 * share)}%`);
  return node;
}

function residualsInWords({ edges, counts }) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const most = counts.indexOf(Math.max(...counts));
  return `Histogram of ${whole(total)} residuals between ${digits(edges[0])} and ${digits(edges[edges.length - 1])}; most lie between ${digits(edges[most])} and ${digits(edges[most + 1])}.`;
}
