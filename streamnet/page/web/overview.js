"use strict";
// All models at a glance, each with a link to its own page.

class Overview {
  constructor(card, table, note, open) {
    this.card = card;
    this.note = note;
    this.table = new SortedTable(table);
    this.open = open;
    table.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-model]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(link.dataset.model);
    });
  }

  show(lines) {
    this.table.head(OVERVIEW);
    const rows = lines.map((line) => ({ ...line, problem: problemsOf(line)[0] ?? null }));
    const troubled = rows.filter((row) => row.problem !== null).length;
    this.note.textContent = `${plural(rows.length, "model")}${troubled ? `, ${whole(troubled)} need${troubled === 1 ? "s" : ""} attention` : ""}`;
    this.table.show(rows);
  }
}

function toneOf(row) {
  return row.problem?.tone ?? (row.samples ? "good" : "idle");
}

function rejectedOf({ rejected }) {
  return Object.values(rejected ?? {}).reduce((sum, count) => sum + count, 0);
}

const OVERVIEW = [
  {
    name: "Model",
    key: (row) => row.name,
    cell: (row) =>
      element("a", { href: modelAddress(row.name), "data-model": row.name }, row.name),
  },
  {
    name: "State",
    key: (row) => (row.problem ? ` ${row.problem.tone}` : stateInWords(row)),
    cell: (row) =>
      element(
        "span",
        { title: row.problem?.what ?? null },
        element("span", { class: `dot ${toneOf(row)}`, "aria-hidden": "true" }),
        stateInWords(row),
        row.problem
          ? element("small", { class: "hint block" }, row.problem.what)
          : null,
      ),
  },
  {
    name: "Recent score",
    number: true,
    key: (row) => latelyOf(row).score,
    cell: (row) =>
      element(
        "span",
        {},
        scored(row.measure, latelyOf(row).score),
        row.measure ? element("small", { class: "hint block" }, measureName(row.measure)) : null,
      ),
  },
  {
    name: "Best baseline",
    number: true,
    key: (row) => bestOf(row.measure, latelyOf(row).baselines)?.[1],
    cell: (row) => {
      const best = bestOf(row.measure, latelyOf(row).baselines);
      if (best === null) return "–";
      const name = element("small", { class: "hint block" }, words(best[0]));
      return element("span", {}, scored(row.measure, best[1]), name);
    },
  },
  {
    name: "Score over time",
    key: (row) => gain(row.measure, row.curve?.at(-1), row.curve?.[0]),
    cell: (row) => sparkLine(row.curve ?? []),
  },
  { name: "Learned", number: true, key: (row) => row.samples, cell: (row) => whole(row.samples) },
  { name: "Drifts", number: true, key: (row) => row.drifts, cell: (row) => whole(row.drifts) },
  { name: "Rejected", number: true, key: rejectedOf, cell: (row) => whole(rejectedOf(row)) },
  {
    name: "Queue",
    number: true,
    key: (row) => row.in_flight,
    cell: (row) => whole(row.in_flight),
  },
];

/** The page of a model, relative to this one. */
function modelAddress(name) {
  return `?model=${encodeURIComponent(name)}`;
}
