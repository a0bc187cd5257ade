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
        const button = element(
          "button",
          { type: "button", title: column.title ?? null },
          column.name,
        );
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
          (a, b) => compared(column.key(a), column.key(b), this.falling ? -1 : 1),
        )
      : this.rows;
    fill(
      this.table.tBodies[0],
      ...rows.map((row) =>
        element(
          "tr",
          { class: rowClass(row) },
          ...this.columns.map((one) =>
            element("td", { class: one.number ? "number" : null }, one.cell(row)),
          ),
        ),
      ),
    );
  }
}

function rowClass({ champion, track, served }) {
  if (track) return served ? "track champion" : "track";
  return champion === true ? "champion" : null; // of a status it is a text
}

/** Compare two keys in a direction, 1 or -1; missing ones are last in both. */
function compared(a, b, direction) {
  if (a === b) return 0;
  if (!isNumber(a) && typeof a !== "string") return 1;
  if (!isNumber(b) && typeof b !== "string") return -1;
  return a < b ? -direction : direction;
}

// What each track of the leader board does, besides the baselines.
const TRACKS = {
  ensemble: "all candidates, each weighted by its recent performance",
  champion: "the best candidate, by a statistical test",
  model: "the ensemble to take home: candidates that need no last targets",
};

/** A row of the leader board: a candidate, or a track of everything that could be served. */
class Leaders {
  constructor(table, note, answers) {
    this.note = note;
    this.answers = answers;
    this.table = new SortedTable(table);
    this.rows = [];
  }

  show(candidates, contenders, { measure, samples }) {
    const score = measure ?? "score";
    const tracks = contenders.map((one) => ({ ...one, scores: one.overall, state: trackState(one) }));
    this.rows = [...tracks, ...candidates];
    this.table.head(leaderColumns(score, samples, this.rows));
    const there = candidates.filter((row) => row.state !== "replaced").length;
    const gone = candidates.length - there;
    this.note.textContent = `${plural(there, "candidate")}${gone ? `, ${whole(gone)} replaced` : ""}`;
    this.answers.textContent = answersInWords(contenders, candidates);
    this.table.show(this.rows);
    this.exported = () => [
      ["name", "settings", "state", "weight", score, "recent loss", "age"],
      ...this.rows.map((row) => [
        nameOf(row),
        row.settings,
        stateOf(row),
        row.weight,
        row.scores?.[score],
        row.loss,
        ageOf(row, { samples }),
      ]),
    ];
  }

  saveCsv(name) {
    if (this.rows.length) saveCsv(name, this.exported());
  }
}

function leaderColumns(score, samples, rows) {
  const weighted = rows.some((row) => isNumber(row.weight));
  return [
    {
      name: "Candidate",
      number: true,
      key: (row) => row.candidate ?? -1,
      cell: nameOf,
    },
    {
      name: "Settings",
      key: (row) => row.settings ?? "",
      cell: (row) =>
        row.track
          ? element("span", { class: "hint" }, trackInWords(row, score))
          : element("span", { class: "settings" }, row.settings),
    },
    {
      name: measureName(score),
      number: true,
      key: (row) => row.scores?.[score],
      cell: (row) => scored(score, row.scores?.[score]),
    },
    ...(weighted ? [WEIGHT] : []),
    {
      name: "Recent loss",
      number: true,
      key: (row) => row.loss,
      cell: (row) => digits(row.loss),
    },
    {
      name: "Age",
      number: true,
      key: (row) => ageOf(row, { samples }),
      cell: (row) => whole(ageOf(row, { samples })),
    },
    {
      name: "State",
      key: stateOf,
      cell: (row) => element("span", { class: `badge ${stateOf(row)}` }, stateOf(row)),
    },
  ];
}

const WEIGHT = {
  name: "Weight",
  number: true,
  key: (row) => row.weight,
  cell: (row) => (isNumber(row.weight) ? percent(row.weight, 0) : "–"),
};

function nameOf(row) {
  return row.track ? words(row.track) : `#${row.candidate}`;
}

/** What a track of the leader board does. */
function trackInWords({ track, shadow }, score) {
  if (!shadow) return TRACKS[track] ?? lower(baselineName(track));
  if (!shadow.scored) return `another system's predictions; ${whole(shadow.waiting)} await their labels`;
  const { samples, served } = shadow.overall;
  return `another system's predictions, on ${plural(samples, "sample")}, where what was served has ${scored(score, served[score])}`;
}

function trackState({ track, served, shadow }) {
  if (served) return "served";
  if (shadow) return "shadow";
  return TRACKS[track] ? "alternative" : "baseline";
}

/** Whose predictions callers get, in words. */
function answersInWords(contenders, candidates) {
  const served = contenders.find((one) => one.served);
  if (!served) return "";
  if (served.track !== "ensemble") {
    const champion = candidates.find((row) => row.champion);
    return `Callers get the predictions of the champion${champion ? `, #${champion.candidate}` : ""}.`;
  }
  const heavy = candidates.filter((row) => row.weight > 0).sort((a, b) => b.weight - a.weight);
  const most = heavy.slice(0, 3).map((row) => `#${row.candidate} (${percent(row.weight, 0)})`);
  const whom = most.length ? `; the heaviest are ${most.join(", ")}` : "";
  return `Callers get the predictions of the ensemble, which combines ${plural(heavy.length || candidates.length, "candidate")}${whom}.`;
}

function lower(text) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Samples that a candidate has learned; null for a track. */
function ageOf(row, { samples }) {
  return row.track ? null : (row.left ?? samples) - (row.born ?? 0);
}

function stateOf(row) {
  return row.champion ? "champion" : row.state;
}

class Scores {
  constructor(card, table) {
    this.card = card;
    this.table = new SortedTable(table);
  }

  /** All metrics of everything that could be served, over all samples. */
  show(tracks) {
    this.card.hidden = !tracks.length;
    if (!tracks.length) return;
    const measures = Object.keys(tracks[0].overall);
    this.table.head([
      { name: "Predictions of", key: (row) => row.track, cell: (row) => words(row.track) },
      ...measures.map((measure) => ({
        name: measureName(measure),
        number: true,
        title: METRICS[measure]?.description ?? null,
        key: (row) => row.overall[measure],
        cell: (row) => scored(measure, row.overall[measure]),
      })),
    ]);
    this.table.show(tracks.map((row) => ({ ...row, champion: row.served })));
  }
}
