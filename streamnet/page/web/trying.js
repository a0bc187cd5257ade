"use strict";
// Trying: a form of the model's own columns, and the answer to one sample.

const MOST_FIELDS = 200; // in the form; the others count as missing
const EXAMPLES = { time: "2026-01-31", day_first: "31/1/2026", month_first: "1/31/2026" };

class TryForm {
  constructor({ card, form, fields, answer }, ask) {
    this.card = card;
    this.fields = fields;
    this.answer = answer;
    this.inputs = [];
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(ask, form.querySelector("button[type=submit]"));
    });
  }

  /** The form of a model's columns; what was typed in stays while they are the same. */
  show(model, fields) {
    this.model = model;
    this.card.hidden = !fields.length;
    whenChanged(this.fields, [model, fields], () => {
      this.inputs = fields
        .slice(0, MOST_FIELDS)
        .map((field, i) => ({ field, input: inputOf(field, i) }));
      fill(this.answer);
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

  /** What was typed in; an empty input is left out. */
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
      fill(this.answer, element("p", { class: "notice" }, error.message));
    } finally {
      button.disabled = false;
    }
  }

  reply({ answers, generations, labels, probabilities, explanations }) {
    const [answer] = answers;
    const said = answer === null ? "no answer" : isNumber(answer) ? digits(answer) : answer;
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
    if (labels && probabilities)
      parts.push(element("div", { class: "bars" }, ...shares(labels, probabilities[0])));
    if (explanations?.[0]) parts.push(...moved(explanations[0]));
    fill(this.answer, ...parts);
  }
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

/** The ten likeliest labels. */
function shares(labels, row) {
  return labels
    .map((label, i) => [label, row[i]])
    .sort(([, a], [, b]) => b - a)
    .slice(0, 10)
    .map(([label, share]) => bar(label, share ?? 0, percent(share)));
}

/** The five inputs that moved the answer most. */
function moved(explanation) {
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
