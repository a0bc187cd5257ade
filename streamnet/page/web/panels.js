"use strict";
// Panels: tiles, leader board, measures, events, rejected records, facts. Each shows one shape of
// the interface and keeps nothing but what the reader chose.

const MOST_EVENTS = 200; // in the list, whatever comes

class Tiles {
  constructor(host) {
    this.host = host;
    this.tiles = new Map();
    this.sparks = new Map();
  }

  tile(name) {
    if (!this.tiles.has(name)) {
      const parts = { value: element("strong"), note: element("span", { class: "hint" }), spark: element("div", { class: "spark", "aria-hidden": "true" }) };
      parts.root = element("div", { class: "tile" }, element("h2", {}, name), parts.value, parts.note, parts.spark);
      this.host.append(parts.root);
      this.tiles.set(name, parts);
    }
    return this.tiles.get(name);
  }

  set(name, value, note, tone = "") {
    const { value: shownValue, note: shownNote, root } = this.tile(name);
    shownValue.textContent = value;
    shownNote.textContent = note;
    root.dataset.tone = tone;
  }

  spark(name, value) {
    if (!this.sparks.has(name)) this.sparks.set(name, new Sparkline(this.tile(name).spark));
    this.sparks.get(name).add(value);
  }

  /** Another model: its numbers have nothing to do with those before. */
  clear() {
    this.tiles.clear();
    this.sparks.clear();
    fill(this.host);
  }

  recolour() {
    this.sparks.forEach((spark) => spark.recolour());
  }

  show(status, live) {
    const { measure, served, baselines = {} } = status;
    this.set(measureName(measure ?? "score"), scored(measure, served), against(measure, served, baselines), "main");
    this.set("Learned", whole(status.learned ?? status.samples), learnedNote(status));
    this.set("Throughput", `${compact(status.learned_per_second)}/s`, isNumber(status.predicted_per_second) ? `${compact(status.predicted_per_second)} predictions/s` : "samples learned");
    this.set("Networks", whole(status.switches), `${status.switches === 1 ? "change" : "changes"} of champion, ${whole(status.drifts)} ${status.drifts === 1 ? "drift" : "drifts"}`);
    const rejected = Object.values(status.rejected ?? {}).reduce((sum, n) => sum + n, 0);
    this.set("Rejected", whole(rejected), rejected ? "reasons below" : "every record was read", rejected ? "warn" : "");
    if (!live) return;
    const full = isNumber(status.max_queued) && status.in_flight >= 0.8 * status.max_queued;
    this.set("Queue", whole(status.in_flight), isNumber(status.max_queued) ? `of ${whole(status.max_queued)} that may wait` : "wait to be learned", full ? "warn" : "");
    this.set("Checkpoint", duration(status.checkpoint_age), isNumber(status.checkpoint_age) ? "old" : "none yet");
    this.spark("Throughput", status.learned_per_second);
    this.spark("Queue", status.in_flight);
  }
}

/** How far what is served is ahead of the best baseline. */
function against(measure, served, baselines) {
  const better = measure === "accuracy" ? Math.max : Math.min;
  const known = Object.entries(baselines).filter(([, value]) => isNumber(value));
  if (!known.length || !isNumber(served)) return "no sample was scored yet";
  const best = better(...known.map(([, value]) => value));
  const [name] = known.find(([, value]) => value === best);
  return `${words(name)}: ${scored(measure, best)}`;
}

function learnedNote(status) {
  const notes = [];
  if (isNumber(status.pending) && status.pending) notes.push(`${whole(status.pending)} wait for a label`);
  if (isNumber(status.uptime)) notes.push(`in ${duration(status.uptime)}`);
  return notes.join(", ") || "samples";
}

/** A table whose columns sort; its head stays, so that focus is kept while rows come and go. */
class SortedTable {
  constructor(table, columns) {
    this.table = table;
    this.columns = [];
    this.rows = [];
    this.by = null;
    this.falling = false;
    this.head(columns);
  }

  head(columns) {
    if (columns.map((column) => column.name).join() === this.columns.map((column) => column.name).join()) return;
    this.columns = columns;
    fill(this.table.tHead.rows[0], ...columns.map((column) => {
      const button = element("button", { type: "button" }, column.name);
      button.addEventListener("click", () => this.sort(column));
      return element("th", { scope: "col", class: column.number ? "number" : null }, button);
    }));
  }

  sort(column) {
    this.falling = this.by === column.name && !this.falling;
    this.by = column.name;
    this.columns.forEach((one, i) => {
      const cell = this.table.tHead.rows[0].cells[i];
      if (one === column) cell.setAttribute("aria-sort", this.falling ? "descending" : "ascending");
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
    const rows = column ? [...this.rows].sort((a, b) => (this.falling ? -1 : 1) * compared(column.key(a), column.key(b))) : this.rows;
    fill(this.table.tBodies[0], ...rows.map((row) => element("tr", { class: row.champion ? "champion" : null },
      ...this.columns.map((one) => element("td", { class: one.number ? "number" : null }, one.cell(row))))));
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
    this.table = new SortedTable(table, []);
  }

  show(rows, { measure, samples }) {
    const score = measure ?? "score";
    this.table.head([
      { name: "Candidate", number: true, key: (row) => row.candidate, cell: (row) => `#${row.candidate}` },
      { name: "Settings", key: (row) => row.settings, cell: (row) => row.settings },
      { name: measureName(score), number: true, key: (row) => row.scores?.[score], cell: (row) => scored(score, row.scores?.[score]) },
      { name: "Loss lately", number: true, key: (row) => row.loss, cell: (row) => digits(row.loss) },
      { name: "Age", number: true, key: (row) => -row.born, cell: (row) => whole((row.left ?? samples) - (row.born ?? 0)) },
      { name: "State", key: stateOf, cell: (row) => element("span", { class: `badge ${stateOf(row)}` }, stateOf(row)) },
    ]);
    const there = rows.filter((row) => row.state !== "replaced").length;
    this.note.textContent = `${whole(there)} learn now${rows.length > there ? `, ${whole(rows.length - there)} were replaced` : ""}`;
    this.table.show(rows);
  }
}

function stateOf(row) {
  return row.champion ? "champion" : row.state;
}

class Scores {
  constructor(card, table) {
    this.card = card;
    this.table = new SortedTable(table, []);
  }

  /** Every measure of all that could be served: `{track: {measure: value}}`. */
  show(scores) {
    const tracks = Object.entries(scores);
    this.card.hidden = !tracks.length;
    if (!tracks.length) return;
    const measures = Object.keys(tracks[0][1]);
    this.table.head([
      { name: "Answers of", key: (row) => row.track, cell: (row) => words(row.track) },
      ...measures.map((measure) => ({ name: measureName(measure), number: true, key: (row) => row.values[measure], cell: (row) => scored(measure, row.values[measure]) })),
    ]);
    this.table.show(tracks.map(([track, values]) => ({ track, values, champion: track === "served" })));
  }
}

class Events {
  constructor(host, announcement) {
    this.host = host;
    this.announcement = announcement;
  }

  clear() {
    fill(this.host, element("li", { class: "empty" }, "Nothing has happened yet."));
    this.count = 0;
  }

  add({ kind, time, data = {} }) {
    if (!this.count) fill(this.host);
    this.count = Math.min(this.count + 1, MOST_EVENTS);
    const text = eventText(data);
    this.host.prepend(element("li", { class: `event ${kindClass(kind)}` },
      element("span", { class: `sign ${kindClass(kind)}`, "aria-hidden": "true" }),
      element("span", { class: "what" }, element("strong", {}, words(kind)), " ", text),
      element("time", {}, isNumber(time) ? clock(time) : isNumber(data.number) ? whole(data.number) : "")));
    while (this.host.childElementCount > MOST_EVENTS) this.host.lastElementChild.remove();
    if (kind === "champion" || kind === "drift" || kind === "state") this.announcement.textContent = `${words(kind)} ${text}`;
  }
}

const KINDS = new Set(["champion", "drift", "checkpoint", "rejected", "quarantine", "state", "gap"]);

function kindClass(kind) {
  return KINDS.has(kind) ? kind : "other";
}

function eventText(data) {
  if (typeof data.text === "string") return data.text;
  return Object.entries(data)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => `${words(name)} ${isNumber(value) ? digits(value) : value}`)
    .join(", ");
}

function showRejected(host, note, { total, by_reason: reasons, last }) {
  note.textContent = total ? `${whole(total)} in all` : "";
  if (!total) {
    fill(host, element("p", { class: "empty" }, "None: every record could be read."));
    return;
  }
  const bars = Object.entries(reasons).sort(([, a], [, b]) => b - a).map(([reason, count]) => bar(words(reason), count / total, whole(count)));
  const rows = last.map((row) => element("tr", {},
    element("td", {}, row.line === null || row.line === undefined ? row.source : `${row.source}:${row.line}`), element("td", {}, words(row.reason)),
    element("td", {}, row.detail), element("td", {}, element("code", {}, row.raw))));
  fill(host, element("div", { class: "bars" }, ...bars), rows.length ? element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The last rejected records" },
    element("table", { class: "records" }, element("thead", {}, element("tr", {}, ...["Where", "Reason", "Detail", "Record"].map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows))) : null);
}

/** A share as a bar with its name and value. */
function bar(name, share, value) {
  const level = element("span", { class: "level" });
  level.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element("div", { class: "bar" }, element("span", { class: "bar-name" }, name), element("span", { class: "track", "aria-hidden": "true" }, level), element("span", { class: "bar-value" }, value));
}

function showFacts(card, list, facts) {
  card.hidden = !facts.length;
  fill(list, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}
