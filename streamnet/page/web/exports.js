"use strict";
// Files to take away: tables as CSV, charts as PNG.

/** Rows of values as CSV (RFC 4180); texts that a spreadsheet would run as formulas are quoted. */
function csvOf(rows) {
  return rows.map((row) => `${row.map(csvField).join(",")}\r\n`).join("");
}

function csvField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Offer a file to the browser's downloads; via a blob, since a link can't send the token. */
function save(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

function saveCsv(name, rows) {
  save(`${name}.csv`, new Blob([csvOf(rows)], { type: "text/csv" }));
}

/** A chart as it is seen, on the colour of its card. */
function savePng(name, canvas, ground) {
  const picture = element("canvas", { width: canvas.width, height: canvas.height });
  const context = picture.getContext("2d");
  context.fillStyle = ground;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(canvas, 0, 0);
  picture.toBlob((blob) => save(`${name}.png`, blob));
}
