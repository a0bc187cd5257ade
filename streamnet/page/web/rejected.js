"use strict";
// Rejected records: the reasons, and the latest of them.

function showRejected(host, note, { total, by_reason: reasons, last }) {
  note.textContent = total ? `${whole(total)} in all` : "";
  if (!total) {
    fill(host, element("p", { class: "empty" }, "None so far."));
    return;
  }
  const bars = Object.entries(reasons)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => bar(words(reason), count / total, whole(count)));
  const timed = last.some(({ time }) => isNumber(time)); // a daemon notes it
  const rows = last
    .toReversed()
    .map((row) =>
      element(
        "tr",
        {},
        timed ? element("td", {}, moment(row.time)) : null,
        element(
          "td",
          {},
          row.line === null || row.line === undefined ? row.source : `${row.source}:${row.line}`,
        ),
        element("td", {}, words(row.reason)),
        element("td", {}, row.detail),
        element("td", {}, element("code", {}, row.raw)),
      ),
    );
  fill(
    host,
    element("div", { class: "bars" }, ...bars),
    rows.length
      ? element(
          "div",
          {
            class: "scroll",
            tabindex: "0",
            role: "region",
            "aria-label": "The last rejected records",
          },
          element(
            "table",
            { class: "records" },
            element(
              "thead",
              {},
              element(
                "tr",
                {},
                ...(timed ? ["When"] : []).concat("Where", "Reason", "Detail", "Record").map((name) =>
                  element("th", { scope: "col" }, name),
                ),
              ),
            ),
            element("tbody", {}, ...rows),
          ),
        )
      : null,
  );
}
