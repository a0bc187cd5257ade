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
    this.tiles = new Tiles(byId("tiles"));
    this.leaders = new Leaders(byId("leaders"), byId("leaders-note"));
    this.scores = new Scores(byId("scores-card"), byId("scores"));
    this.events = new Events(byId("events"), byId("announcement"));
    this.outcomes = new Outcomes(byId("outcomes"), byId("outcomes-title"), byId("outcomes-note"));
    this.events.clear();
    for (const radio of document.querySelectorAll("input[name=stretch]")) {
      radio.addEventListener("change", () => {
        this.curve.choose(radio.value);
        this.intervals.curve.choose(radio.value);
      });
    }
  }

  /** Show one model, from the daemon's responses or from a report. */
  show({ status, history, leaders, outcomes, rejected, scores = {}, facts = [] }, live) {
    const aim = typeof status.target === "string" ? ` predicts ${status.target}` : "";
    fill(byId("name"), element("span", { class: "model-name" }, status.name), aim);
    byId("state").hidden = false;
    byId("state").textContent = status.state;
    byId("state").dataset.tone =
      { learning: "good", failed: "bad", paused: "warn" }[status.state] ?? "";
    const failures = failuresOf(status);
    byId("failure").hidden = !failures;
    byId("failure").textContent = failures;
    this.tiles.show(status, live);
    // The name is included because another model may have identical data.
    const { name, measure, samples } = status;
    whenChanged(byId("curve"), [name, history], () => this.curve.show(history));
    whenChanged(byId("intervals"), [name, status.intervals, history?.intervals], () =>
      this.intervals.show(status, history),
    );
    whenChanged(byId("leaders"), [name, measure, samples, leaders], () =>
      this.leaders.show(leaders, status),
    );
    whenChanged(byId("outcomes"), [name, outcomes], () => this.outcomes.show(outcomes));
    whenChanged(byId("rejected"), rejected, () =>
      showRejected(byId("rejected"), byId("rejected-note"), rejected),
    );
    whenChanged(byId("scores"), scores, () => this.scores.show(scores));
    whenChanged(byId("facts"), facts, () => showFacts(byId("facts-card"), byId("facts"), facts));
  }

  connection(text, tone = "") {
    byId("connection").textContent = text;
    byId("connection").dataset.tone = tone;
  }

  recolour() {
    this.curve.draw();
    this.intervals.curve.draw();
    this.tiles.recolour();
    this.outcomes.recolour();
  }
}

/** Why a model, or only the reading of its files, stopped. */
function failuresOf({ failure, feed }) {
  const unread = feed?.failure ? `Reading its files stopped: ${feed.failure}` : null;
  return [failure, unread].filter(Boolean).join(" \u2013 ");
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
  document.title = `${report.status.name}: streamnet report`;
  document.body.classList.add("report");
  page.connection("report", "");
  page.show(report, false);
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
