"use strict";
// Events: what happened, the newest first.

const MOST_EVENTS = 200; // in the list, whatever comes

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
    this.host.prepend(
      element(
        "li",
        { class: `event ${kindClass(kind)}` },
        element("span", { class: `sign ${kindClass(kind)}`, "aria-hidden": "true" }),
        element("span", { class: "what" }, element("strong", {}, words(kind)), " ", text),
        element(
          "time",
          {},
          isNumber(time) ? clock(time) : isNumber(data.number) ? whole(data.number) : "",
        ),
      ),
    );
    while (this.host.childElementCount > MOST_EVENTS) this.host.lastElementChild.remove();
    if (kind === "champion" || kind === "drift" || kind === "state")
      this.announcement.textContent = `${words(kind)} ${text}`;
  }
}

const KINDS = new Set([
  "champion",
  "drift",
  "checkpoint",
  "rejected",
  "quarantine",
  "state",
  "gap",
]);

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
