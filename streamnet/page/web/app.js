"use strict";
// The page: shows an embedded report once, or follows a daemon's models live.

class Page {
  constructor() {
    this.curve = new CurveChart(byId("curve"), byId("legend"));
    this.intervals = new Intervals({
      card: byId("intervals-card"),
      title: byId("intervals-title"),
      note: byId("intervals-note"),
      legend: byId("intervals-legend"),
      curve: byId("intervals-curve"),
      table: byId("intervals"),
    });
    this.problems = new Problems(byId("problems"));
    this.headline = new Headline({
      card: byId("headline"),
      title: byId("headline-title"),
      score: byId("headline-score"),
      change: byId("headline-change"),
      text: byId("headline-words"),
    });
    this.tiles = new Tiles(byId("tiles"));
    this.leaders = new Leaders(byId("leaders"), byId("leaders-note"), byId("answers"));
    this.compare = new Compare(
      {
        card: byId("compare-card"),
        first: byId("compare-first"),
        second: byId("compare-second"),
        table: byId("compare"),
      },
      (name) => this.otherModel(name),
    );
    this.why = new Why({
      importance: byId("importance"),
      importanceNote: byId("importance-note"),
      changed: byId("changed"),
      trust: byId("trust"),
      trustTitle: byId("trust-title"),
      trustNote: byId("trust-note"),
      errors: byId("errors"),
      errorsNote: byId("errors-note"),
    });
    this.otherModel = () => null; // until a daemon is followed
    this.scores = new Scores(byId("scores-card"), byId("scores"));
    this.events = new Events(byId("events"), byId("announcement"));
    this.outcomes = new Outcomes({
      host: byId("outcomes"),
      title: byId("outcomes-title"),
      note: byId("outcomes-note"),
      card: byId("outcomes-card"),
      sort: byId("outcomes-sort"),
      confused: byId("confused"),
      classes: new Classes(byId("classes-card"), byId("classes"), byId("classes-note")),
    });
    this.events.clear();
    this.shown = null; // the last data of a model
    byId("curve-csv").addEventListener("click", () => this.curve.saveCsv(this.fileName("scores")));
    byId("curve-png").addEventListener("click", () => this.curve.savePng(this.fileName("scores")));
    byId("leaders-csv").addEventListener("click", () =>
      this.leaders.saveCsv(this.fileName("leaders")),
    );
    for (const radio of document.querySelectorAll("input[name=range], input[name=axis]")) {
      radio.addEventListener("change", () =>
        this.curve.look(chosen("axis"), chosen("range")),
      );
    }
    for (const radio of document.querySelectorAll("input[name=stretch]")) {
      radio.addEventListener("change", () => {
        this.curve.choose(radio.value);
        this.intervals.curve.choose(radio.value);
      });
    }
  }

  /** Show one model, from the daemon's responses or from a report. */
  show({ status, history, leaders, outcomes, rejected, scores, insight, features, keys, facts = [], ...rest }, live) {
    this.shown = status;
    const made = rest.made ? `, ${rest.made}` : "";
    const verb = live ? " predicts" : ": predictions of";
    const aim = typeof status.target === "string" ? `${verb} ${status.target}${made}` : made;
    fill(byId("name"), element("span", { class: "model-name" }, status.name), aim);
    const problems = live ? problemsOf(status) : [];
    const state = stateInWords(status);
    this.state(state, problems[0]?.tone ?? (state === "learning" || state === "following" ? "good" : ""));
    document.body.classList.toggle("nothing-learned", !status.samples && !status.replica_of);
    this.problems.show(status.name, problems);
    this.headline.show(status, history);
    byId("range").hidden = byId("axis").hidden = !history?.timed;
    this.tiles.show(status, live);
    // The name is included because another model may have identical data.
    const { name, measure, samples } = status;
    whenChanged(byId("curve"), [name, history], () => this.curve.show(history));
    whenChanged(byId("intervals"), [name, status.intervals, history?.intervals], () =>
      this.intervals.show(status, history),
    );
    whenChanged(byId("leaders"), [name, measure, samples, leaders, scores], () =>
      this.leaders.show(leaders, scores ?? [], status),
    );
    whenChanged(byId("outcomes"), [name, outcomes], () => this.outcomes.show(outcomes));
    whenChanged(byId("trust"), [name, outcomes, insight, features], () =>
      this.why.show(insight, outcomes, features),
    );
    whenChanged(byId("keys"), [name, keys], () =>
      showKeys(byId("keys-card"), byId("keys"), byId("keys-note"), keys),
    );
    byId("rejected-card").hidden = !rejected;
    whenChanged(byId("rejected"), rejected, () => {
      if (rejected) showRejected(byId("rejected"), byId("rejected-note"), rejected);
    });
    whenChanged(byId("scores"), scores, () => this.scores.show(scores ?? []));
    whenChanged(byId("facts"), facts, () => showFacts(byId("facts-card"), byId("facts"), facts));
  }

  state(text, tone) {
    byId("state").hidden = false;
    byId("state").textContent = text;
    byId("state").dataset.tone = tone;
  }

  connection(text, tone = "") {
    byId("connection").textContent = text;
    byId("connection").dataset.tone = tone;
  }

  /** The connection is lost: nothing that is shown is known to be true any more. */
  lost(text) {
    this.connection(text, "bad");
    this.problems.connection(
      text.startsWith("no connection") ? "No connection to the daemon" : `The daemon refuses: ${text}`,
    );
    if (this.shown !== null) this.state(`last known: ${this.shown.state}`, "");
  }

  /** The connection is there again. */
  found() {
    this.problems.connection(null);
  }

  /** Show all models, or one of them. */
  view(overview) {
    document.body.classList.toggle("all-models", overview);
    byId("overview").hidden = !overview;
    if (overview) {
      fill(byId("name"), element("span", { class: "model-name" }, "All models"));
      this.shown = null;
      byId("state").hidden = true;
      this.problems.show(null, []);
      document.title = "All models - streamnet";
    }
  }

  fileName(what) {
    return `${this.shown?.name ?? "streamnet"}-${what}`;
  }

  recolour() {
    this.curve.draw();
    this.intervals.curve.draw();
    this.tiles.recolour();
    this.outcomes.recolour();
  }
}

/** The value of the checked one of several radio buttons. */
function chosen(name) {
  return document.querySelector(`input[name=${name}]:checked`).value;
}

function showFacts(card, list, facts) {
  card.hidden = !facts.length;
  fill(
    list,
    ...facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value)),
    ),
  );
}

function showReport(page, report) {
  document.title = `${report.status.name}, ${report.made}: streamnet report`;
  document.body.classList.add("report");
  page.connection("report", "");
  page.show(report, false);
  page.compare.show(report.leaders, report.status);
  for (const event of report.events) page.events.add(event);
}

function begin() {
  const page = new Page();
  const report = byId("report");
  new Theme(byId("theme"), () => page.recolour());
  if (report) showReport(page, JSON.parse(report.textContent));
  else new Live(page).start();
}

begin();
