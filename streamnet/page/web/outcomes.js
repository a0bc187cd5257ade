"use strict";
// The confusion matrix as a heat map, or the residuals as a histogram.

const FEW_LABELS = 12; // whose matrix shows counts, and as many labels as columns
const MOST_CONFUSED = 10;

class Outcomes {
  constructor({ host, title, note, card, sort, confused, classes }) {
    this.host = host;
    this.title = title;
    this.note = note;
    this.card = card;
    this.sortSelect = sort;
    this.confusedHost = confused;
    this.classes = classes;
    sort.addEventListener("change", () => this.orderBy(sort.value));
    this.histogram = null;
    this.last = null;
  }

  show(outcomes) {
    this.last = outcomes;
    this.histogram?.destroy();
    this.histogram = null;
    const labels = outcomes?.kind === "confusion" ? outcomes.labels.length : 0;
    this.card.classList.toggle("wide", labels > FEW_LABELS);
    this.sortSelect.parentElement.hidden = labels < 3;
    if (!labels) {
      fill(this.confusedHost);
      this.classes.show([]);
    }
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

  confusion({ labels, matrix, classes = [], confused = [] }) {
    const sort = this.sort ?? (labels.length > FEW_LABELS ? "frequency" : "label");
    const order = sortedBy(sort, matrix);
    this.sortSelect.value = sort;
    this.title.textContent = "Confusion matrix";
    this.note.textContent = "rows: truth, columns: prediction, in percent of the row";
    const numbers = labels.length <= FEW_LABELS;
    if (numbers) this.note.textContent = "rows: truth, columns: prediction";
    const head = element(
      "tr",
      {},
      element("td", {}),
      ...order.map((i) => element("th", { scope: "col", title: labels[i] }, labels[i])),
      element("th", { scope: "col" }, "recall"),
    );
    const rows = order.map((i) => {
      const total = matrix[i].reduce((sum, count) => sum + count, 0);
      return element(
        "tr",
        {},
        element("th", { scope: "row", title: labels[i] }, labels[i]),
        ...order.map((j) => cell(matrix[i][j], total, i === j, numbers, labels[j])),
        element("td", { class: "number" }, total ? percent(matrix[i][i] / total) : "–"),
      );
    });
    const size = labels.length > FEW_LABELS ? "dense" : labels.length < 5 ? "large" : "";
    const table = element(
      "table",
      { class: `heat ${size}` },
      element("thead", {}, head),
      element("tbody", {}, ...rows),
    );
    fill(this.host, table);
    fill(this.confusedHost, ...confusedLines(confused, classes));
    this.classes.show(classes);
  }

  /** The order of the matrix: as labels appeared, by frequency, or by recall. */
  orderBy(sort) {
    this.sort = sort;
    this.show(this.last);
  }
}

/** Places of rows in an order; a stable one, so that equal rows stay as they were. */
function sortedBy(sort, matrix) {
  const places = matrix.map((_, i) => i);
  if (sort === "label") return places;
  const totals = matrix.map((row) => row.reduce((sum, count) => sum + count, 0));
  const key = sort === "recall" ? (i) => (totals[i] ? matrix[i][i] / totals[i] : 2) : (i) => -totals[i];
  return places.sort((a, b) => key(a) - key(b));
}

/** The most frequent mistakes as a list. */
function confusedLines(confused, classes) {
  const truths = new Map(classes.map(({ label, truths }) => [label, truths]));
  return confused.slice(0, MOST_CONFUSED).map(({ truth, prediction, count }) => {
    const total = truths.get(truth) || count;
    return element(
      "li",
      {},
      element("strong", {}, truth),
      " was taken for ",
      element("strong", {}, prediction),
      ` ${plural(count, "time")}`,
      element("span", { class: "hint" }, `, ${percent(count / total)} of its samples`),
    );
  });
}

/** Precision, recall, F1 and support of each class. */
class Classes {
  constructor(card, table, note) {
    this.card = card;
    this.note = note;
    this.table = new SortedTable(table);
  }

  show(classes) {
    this.card.hidden = !classes.length;
    if (!classes.length) return;
    const areas = Object.keys(classes[0].areas ?? {});
    const numbers = [
      ["Support", (row) => row.truths, whole],
      ["Predicted", (row) => row.predictions, whole],
      ["Precision", (row) => share(row.hits, row.predictions), percent],
      ["Recall", (row) => share(row.hits, row.truths), percent],
      ["F1", (row) => share(2 * row.hits, row.truths + row.predictions), percent],
      ...areas.map((name) => [measureName(name), (row) => row.areas?.[name], digits]),
    ];
    this.note.textContent = plural(classes.length, "class", "classes");
    this.table.head([
      { name: "Class", key: (row) => row.label, cell: (row) => row.label },
      ...numbers.map(([name, key, format]) => ({
        name,
        number: true,
        key,
        cell: (row) => format(key(row)),
      })),
    ]);
    this.table.show(classes);
  }
}

function share(part, all) {
  return all > 0 ? part / all : null;
}

/** A cell shaded by its share of the row; the diagonal has the colour of correct predictions. */
function cell(count, total, right, numbers, label) {
  const part = total ? count / total : 0;
  const node = element(
    "td",
    {
      class: `number ${right ? "right" : "wrong"}${part > 0.5 ? " strong" : ""}`,
      title: `${label}: ${whole(count)}, ${percent(part)} of the row`,
    },
    numbers ? compact(count) : part >= 0.005 ? String(Math.round(100 * part)) : "",
  );
  node.style.setProperty("--share", `${Math.round(100 * part)}%`);
  return node;
}

function residualsInWords({ edges, counts }) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const most = counts.indexOf(Math.max(...counts));
  return `Histogram of ${whole(total)} residuals between ${digits(edges[0])} and ${digits(edges[edges.length - 1])}; most lie between ${digits(edges[most])} and ${digits(edges[most + 1])}.`;
}
