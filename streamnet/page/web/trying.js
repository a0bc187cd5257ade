"use strict";
// The form to try a model: its columns, and the prediction for one sample.

const MOST_FIELDS = 200; // in the form; other columns count as missing
const EXAMPLES = { time: "2026-01-31", day_first: "31/1/2026", month_first: "1/31/2026" };

class TryForm {
  constructor({ card, form, fields, prediction, last, clear, json, note }, ask) {
    this.card = card;
    this.fields = fields;
    this.prediction = prediction;
    this.last = last;
    this.note = note;
    this.inputs = [];
    last.addEventListener("click", () => this.fill(this.lastSample));
    clear.addEventListener("click", () => this.fill({}));
    json.addEventListener("input", () => this.paste(json.value));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(ask, form.querySelector("button[type=submit]"));
    });
  }

  /** Show the form for a model's columns; the input is kept as long as they don't change. */
  show(model, fields) {
    this.model = model;
    this.card.hidden = !fields.length;
    whenChanged(this.fields, [model, fields], () => {
      this.inputs = fields
        .slice(0, MOST_FIELDS)
        .map((field, i) => ({ field, input: inputOf(field, i) }));
      fill(this.prediction);
      fill(
        this.fields,
        ...this.inputs.map(({ field, input }, i) =>
          element(
            "label",
            { class: "field" },
            element("span", {}, field.name, " ", element("small", {}, field.kind)),
            input,
            suggestions(field, i),
          ),
        ),
      );
    });
  }

  /** Offer the last sample that was learned; null if none is known. */
  offer(sample) {
    this.lastSample = sample;
    this.last.hidden = sample === null;
  }

  /** Fill the form with a sample; returns the names of its columns that the form does not have. */
  fill(sample) {
    for (const { field, input } of this.inputs) {
      const value = sample[field.name];
      input.value = value === null || value === undefined ? "" : String(value);
    }
    const known = new Set(this.inputs.map(({ field }) => field.name));
    return Object.keys(sample).filter((name) => !known.has(name));
  }

  paste(text) {
    this.note.textContent = "";
    if (text.trim() === "") return;
    let sample;
    try {
      sample = JSON.parse(text);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.note.textContent = `This is no JSON: ${error.message}`;
      return;
    }
    if (Array.isArray(sample)) sample = sample[0];
    if (Array.isArray(sample?.samples)) sample = sample.samples[0];
    if (typeof sample?.sample === "object") sample = sample.sample;
    if (typeof sample !== "object" || sample === null) {
      this.note.textContent = 'A sample is an object, such as {"x": 1.5}';
      return;
    }
    const others = this.fill(sample);
    const ignored = others.length ? `; not in the form: ${others.slice(0, 10).join(", ")}` : "";
    this.note.textContent = `Filled in ${plural(Object.keys(sample).length - others.length, "column")}${ignored}`;
  }

  /** The sample from the form, without empty inputs. */
  sample() {
    const filled = this.inputs.filter(({ input }) => input.value.trim() !== "");
    return Object.fromEntries(
      filled.map(({ field, input }) => [
        field.name,
        field.kind === "number" ? Number(input.value) : input.value,
      ]),
    );
  }

  async submit(ask, button) {
    const { model } = this;
    button.disabled = true;
    try {
      const reply = await ask(this.sample());
      if (model === this.model) this.reply(reply);
    } catch (error) {
      fill(this.prediction, element("p", { class: "notice" }, error.message));
    } finally {
      button.disabled = false;
    }
  }

  reply({ predictions, generations, labels, probabilities, intervals, sets, explanations }) {
    const [value] = predictions;
    const said = value === null ? "no prediction" : isNumber(value) ? digits(value) : value;
    const by = `by generation ${whole(generations[0])} of the model`;
    const parts = [
      element(
        "p",
        { class: "said" },
        element("strong", {}, said),
        " ",
        element("span", { class: "hint" }, by),
      ),
    ];
    const within = boundsOf(intervals?.[0], sets?.[0]);
    if (within) parts.push(element("p", { class: "hint" }, within));
    if (labels && probabilities)
      parts.push(element("div", { class: "bars" }, ...probabilityBars(labels, probabilities[0])));
    if (explanations?.[0]) parts.push(...influenceBars(explanations[0]));
    fill(this.prediction, ...parts);
  }
}

/** The interval of a number, or the set of a label, in words. */
function boundsOf(interval, set) {
  if (isNumber(interval?.[0])) return `Between ${digits(interval[0])} and ${digits(interval[1])}`;
  if (!set) return "";
  return set.length ? `One of: ${set.join(", ")}` : "No label is likely enough for the set";
}

function inputOf(field, place) {
  const attributes = { name: `field-${place}`, autocomplete: "off", spellcheck: "false" };
  if (field.kind === "number")
    return element("input", { ...attributes, type: "number", step: "any", inputmode: "decimal" });
  if (field.kind === "text") return element("textarea", { ...attributes, rows: "2" });
  return element("input", {
    ...attributes,
    type: "text",
    list: field.values?.length ? `values-${place}` : null,
    placeholder: EXAMPLES[field.kind] ?? null,
  });
}

function suggestions(field, place) {
  if (!field.values?.length) return null;
  return element(
    "datalist",
    { id: `values-${place}` },
    ...field.values.map((value) => element("option", { value })),
  );
}

/** The ten most probable labels. */
function probabilityBars(labels, row) {
  return labels
    .map((label, i) => [label, row[i]])
    .sort(([, a], [, b]) => b - a)
    .slice(0, 10)
    .map(([label, probability]) => bar(label, probability ?? 0, percent(probability)));
}

/** The five columns with the most influence. */
function influenceBars(explanation) {
  const most = Object.entries(explanation)
    .filter(([, by]) => isNumber(by) && by !== 0)
    .sort(([, a], [, b]) => Math.abs(b) - Math.abs(a))
    .slice(0, 5);
  if (!most.length) return [];
  const largest = Math.abs(most[0][1]);
  return [
    element("h3", {}, "What influenced it"),
    element(
      "div",
      { class: "bars" },
      ...most.map(([name, by]) => bar(name, Math.abs(by) / largest, digits(by))),
    ),
  ];
}
