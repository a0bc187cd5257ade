"use strict";
// The list of events, the newest first.

const MOST_EVENTS = 200; // in the list
const ROUTINE = new Set(["checkpoint", "rejected"]);
const NEWS = new Set(["champion", "classes", "drift", "state", "trouble"]);

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
    const text = eventText(kind, data);
    // Consecutive routine events are shown once, with the latest time.
    if (ROUTINE.has(kind) && this.host.firstElementChild?.classList.contains(kind)) {
      this.host.firstElementChild.remove();
      this.count -= 1;
    }
    this.host.prepend(
      element(
        "li",
        { class: `event ${kindClass(kind)}` },
        element("span", { class: `sign ${data.state === "failed" ? "failed" : kindClass(kind)}`, "aria-hidden": "true" }),
        element("span", { class: "what" }, element("strong", {}, Object.hasOwn(KINDS, kind) ? KINDS[kind] : words(kind)), " ", text),
        element(
          "time",
          isNumber(time)
            ? { datetime: new Date(1000 * time).toISOString(), title: fullDate(time) }
            : {},
          isNumber(time)
            ? moment(time)
            : isNumber(data.number)
              ? `sample ${whole(data.number)}`
              : "",
        ),
      ),
    );
    while (this.host.childElementCount > MOST_EVENTS) this.host.lastElementChild.remove();
    if (NEWS.has(kind))
      this.announcement.textContent = `${words(kind)} ${text}`;
  }
}

// Kinds of events, as they are named on the page.
const KINDS = {
  champion: "New champion",
  classes: "Classes changed",
  drift: "Drift",
  checkpoint: "Checkpoint",
  rejected: "Rejected",
  quarantine: "Quarantine",
  state: "State",
  feed: "Feed",
  gap: "Events missed",
  trouble: "Trouble",
};

function kindClass(kind) {
  return Object.hasOwn(KINDS, kind) ? kind : "other";
}

function fullDate(time) {
  return new Date(1000 * time).toLocaleString("en-GB", { dateStyle: "full", timeStyle: "long" });
}

/** A class that was merged or retired, in words. */
function classChange({ label, into, number }) {
  const what = into === null ? "retired" : `merged into ${into}`;
  return `${label} ${what} from sample ${whole(number)} on`;
}

/** An event in words; for an unknown kind, as a later daemon may send, its values. */
function eventText(kind, data) {
  if (typeof data.text === "string") return data.text;
  if (kind === "trouble") return `${data.message}${data.change === "ended" ? " (it has ended)" : ""}`;
  if (kind === "champion") return `${data.after} from sample ${whole(data.number)} on`;
  if (kind === "drift") return `loss rose from ${digits(data.before)} to ${digits(data.after)}`;
  if (kind === "classes") return classChange(data);
  if (kind === "checkpoint") return `after ${whole(data.samples)} samples`;
  if (kind === "rejected") return counted(data.reasons ?? {});
  if (kind === "quarantine")
    return `of ${plural(data.count, "candidate")} that diverged, up to sample ${whole(data.number)}`;
  if (kind === "gap")
    return isNumber(data.missed) ? `${whole(data.missed)} of them` : "an unknown number";
  if (kind === "state") return data.failure ? `${data.state}: ${data.failure}` : data.state;
  return counted(data);
}

function counted(values) {
  return Object.entries(values)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => `${words(name)} ${isNumber(value) ? digits(value) : value}`)
    .join(", ");
}
