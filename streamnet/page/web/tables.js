"use strict";
// Sortable tables: the leader board and all metrics.

/** A sortable table; its head stays in place, so focus survives when the rows change. */
class SortedTable {
  constructor(table) {
    this.table = table;
    this.columns = [];
    this.rows = [];
    this.by = null; // name of a column
    this.falling = false;
  }

  head(columns) {
    const names = (some) => some.map((column) => column.name).join();
    const same = names(columns) === names(this.columns);
    this.columns = columns;
    if (same) return;
    fill(
      this.table.tHead.rows[0],
      ...columns.map((column) => {
        const button = element("button", { type: "button" }, column.name);
        button.addEventListener("click", () => this.sort(column.name));
        return element("th", { scope: "col", class: column.number ? "number" : null }, button);
      }),
    );
  }

  sort(name) {
    this.falling = this.by === name && !this.falling;
    this.by = name;
    this.columns.forEach((one, i) => {
      const cell = this.table.tHead.rows[0].cells[i];
      if (one.name === name)
        cell.setAttribute("aria-sort", this.falling ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.draw();
  }

  show(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const column = this.columns.find((one) => one.name === this.by);
    const rows = column
      ? [...this.rows].sort(
          (a, b) => (this.falling ? -1 : 1) * compared(column.key(a), column.key(b)),
        )
      : this.rows;
    fill(
      this.table.tBodies[0],
      ...rows.map((row) =>
        element(
          "tr",
          { class: row.champion ? "champion" : null },
          ...this.columns.map((one) =>
            element("td", { class: one.number ? "number" : null }, one.cell(row)),
          ),
        ),
      ),
    );
  }
}

function compared(a, b) {
  if (a === b) return 0;
  if (!isNumber(a) && typeof a !== "string") return 1;
  if (!isNumber(b) && typeof b !== "string") return -1;
  return a < b ? -1 : 1;
}

class Leaders {
  constructor(table, note) {
    this.note = note;
    this.table = new SortedTable(table);
  }

  show(rows, { measure, samples }) {
    const score = measure ?? "score";
    this.table.head([
      {
        name: "Candidate",
        number: true,
        key: (row) => row.candidate,
        cell: (row) => `#${row.candidate}`,
      },
      {
        name: "Settings",
        key: (row) => row.settings,
        cell: (row) => element("span", { class: "settings" }, row.settings),
      },
      {
        name: measureName(score),
        number: true,
        key: (row) => row.scores?.[score],
        cell: (row) => scored(score, row.scores?.[score]),
      },
      {
        name: "Recent loss",
        number: true,
        key: (row) => row.loss,
        cell: (row) => digits(row.loss),
      },
      {
        name: "Age",
        number: true,
        key: (row) => -row.born,
        cell: (row) => whole((row.left ?? samples) - (row.born ?? 0)),
      },
      {
        name: "State",
        key: stateOf,
        cell: (row) => element("span", { class: `badge ${stateOf(row)}` }, stateOf(row)),
      },
    ]);
    const there = rows.filter((row) => row.state !== "replaced").length;
    this.note.textContent = `${whole(there)} learning${rows.length > there ? `, ${whole(rows.length - there)} replaced` : ""}`;
    this.table.show(rows);
  }
}

function stateOf(row) {
  return row.champion ? "champion" : row.state;
}

class Scores {
  constructor(card, table) {
    this.card = card;
    this.table = new SortedTable(table);
  }

  /** All metrics of everything that could be served: `{track: {metric: value}}`. */
  show(scores) {
    const tracks = Object.entries(scores);
    this.card.hidden = !tracks.length;
    if (!tracks.length) return;
    const measures = Object.keys(tracks[0][1]);
    this.table.head([
      { name: "Predictions of", key: (row) => row.track, cell: (row) => words(row.track) },
      ...measures.map((measure) => ({
        name: measureName(measure),
        number: true,
        key: (row) => row.values[measure],
        cell: (row) => scored(measure, row.values[measure]),
      })),
    ]);
    this.table.show(
      tracks.map(([track, values]) => ({ track, values, champion: track === "served" })),
    );
  }
}
