"use strict";
// Keys with models of their own: how many there are, and the worst and the best of them.

function showKeys(card, table, note, keys) {
  card.hidden = !keys?.count;
  if (card.hidden) return;
  const { columns, count, worst, best } = keys;
  note.textContent = `${whole(count)} of ${columns.join(", ")}; those with at least 10 samples, by their mean loss`;
  const rows = [...worst.map((key) => keyRow("worst", key)), ...best.map((key) => keyRow("best", key))];
  fill(table.tBodies[0], ...rows);
}

function keyRow(rank, { key, samples, loss, shared_loss: shared, recent_loss: recent, drifts }) {
  const numbers = [whole(samples), ...[loss, shared, recent].map(lossText), whole(drifts)];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, key),
    element("td", {}, rank),
    ...numbers.map((text) => element("td", { class: "number" }, text)),
  );
}

function lossText(loss) {
  return isNumber(loss) ? digits(loss) : "–";
}
