"use strict";
// Two candidates, or two models, side by side.

class Compare {
  constructor({ card, first, second, table }, other) {
    this.card = card;
    this.selects = [first, second];
    this.table = table;
    this.other = other; // gives the status of another model, or null where there is none
    this.rows = [];
    this.models = [];
    for (const select of this.selects) select.addEventListener("change", () => this.draw());
  }

  /** Offer the candidates of a model, and the other models by name. */
  show(rows, status, models = []) {
    this.rows = rows;
    this.status = status;
    this.models = models;
    const candidates = rows.map((row) => [`#${row.candidate}`, `#${row.candidate} ${row.settings}`]);
    const named = models.length > 1 ? models.map((name) => [`model ${name}`, name]) : [];
    this.card.hidden = candidates.length + named.length < 2;
    const groups = [
      ["Candidates", candidates],
      ["Models", named],
    ].filter(([, options]) => options.length > 1);
    whenChanged(this.selects[0], groups, () => this.offer(groups));
    this.draw();
  }

  offer(groups) {
    const kept = this.selects.map((select) => select.value);
    this.selects.forEach((select, place) => {
      fill(
        select,
        ...groups.map(([label, options]) =>
          element(
            "optgroup",
            { label },
            ...options.map(([value, text]) => element("option", { value }, text)),
          ),
        ),
      );
      const values = groups.flatMap(([, options]) => options.map(([value]) => value));
      select.value = values.includes(kept[place]) ? kept[place] : (values[place] ?? values[0]);
    });
  }

  async draw() {
    const chosen = this.selects.map((select) => select.value);
    const sides = await Promise.all(chosen.map((value) => this.side(value)));
    if (chosen.some((value, i) => value !== this.selects[i].value)) return; // chosen meanwhile
    const measures = new Set(sides.flatMap((side) => Object.keys(side.scores)));
    const facts = new Set(sides.flatMap((side) => Object.keys(side.facts)));
    const head = ["", ...sides.map((side) => side.name)];
    const lines = [...facts].map((name) => [words(name), ...sides.map((side) => side.facts[name] ?? "–")]);
    const scores = [...measures].map((measure) => scoreLine(measure, sides));
    whenChanged(this.table, [head, lines, scores], () => {
      fill(
        this.table.tHead.rows[0],
        ...head.map((name) => element("th", { scope: "col" }, name)),
      );
      fill(this.table.tBodies[0], ...[...lines, ...scores].map(comparedRow));
    });
  }

  async side(value) {
    if (value.startsWith("model ")) {
      const name = value.slice("model ".length);
      const status = name === this.status.name ? this.status : await this.other(name);
      return modelSide(status ?? { name });
    }
    const row = this.rows.find(({ candidate }) => `#${candidate}` === value);
    return row ? candidateSide(row, this.status) : { name: value, facts: {}, scores: {} };
  }
}

function candidateSide(row, status) {
  return {
    name: `#${row.candidate}`,
    facts: {
      settings: row.settings,
      state: stateOf(row),
      weight: isNumber(row.weight) ? percent(row.weight) : "–",
      age: plural(ageOf(row, status), "sample"),
      recent_loss: digits(row.loss),
    },
    scores: row.scores ?? {},
  };
}

function modelSide(status) {
  const { score, count } = latelyOf(status);
  const best = bestOf(status.measure, latelyOf(status).baselines);
  return {
    name: status.name,
    facts: {
      state: status.state ?? "–",
      learned: whole(status.samples),
      best_baseline: best ? `${scored(status.measure, best[1])} (${words(best[0])})` : "–",
      champion_changes: whole(status.switches),
      drifts: whole(status.drifts),
      rejected: whole(rejectedOf(status)),
      scored_lately: whole(count),
    },
    scores: status.measure ? { [status.measure]: score } : {},
  };
}

/** A metric of both sides; the better one is marked. */
function scoreLine(measure, sides) {
  const values = sides.map((side) => side.scores[measure]);
  const better = gain(measure, values[0], values[1]);
  const texts = values.map((value) => scored(measure, value));
  const best = better > 0 ? 0 : better < 0 ? 1 : -1;
  return [measureName(measure), ...texts, best];
}

function comparedRow([name, first, second, best = -1]) {
  const cells = [first, second].map((text, i) =>
    i === best
      ? element("td", {}, element("strong", {}, text), " ", element("small", { class: "hint" }, "better"))
      : element("td", {}, text),
  );
  return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
}
