"use strict";
// Tiles: the status of a model in a few numbers.

class Tiles {
  constructor(host) {
    this.host = host;
    this.tiles = new Map();
    this.sparks = new Map();
  }

  tile(name) {
    if (!this.tiles.has(name)) {
      const parts = {
        value: element("strong"),
        note: element("span", { class: "hint" }),
        spark: element("div", { class: "spark", "aria-hidden": "true" }),
      };
      parts.root = element(
        "div",
        { class: "tile" },
        element("h2", {}, name),
        parts.value,
        parts.note,
        parts.spark,
      );
      this.host.append(parts.root);
      this.tiles.set(name, parts);
    }
    return this.tiles.get(name);
  }

  set(name, value, note, tone = "") {
    const { value: shownValue, note: shownNote, root } = this.tile(name);
    shownValue.textContent = value;
    shownNote.textContent = note;
    root.dataset.tone = tone;
  }

  spark(name, value) {
    if (!this.sparks.has(name)) this.sparks.set(name, new Sparkline(this.tile(name).spark));
    this.sparks.get(name).add(value);
  }

  remove(name) {
    this.tiles.get(name)?.root.remove();
    this.tiles.delete(name);
  }

  /** A read replica knows its model and how old that is; scores are known to who learns. */
  showReplica(status) {
    const { replica_of: of, replica_silence: silence, model_age: age } = status;
    const tone = problemsOf(status).length ? "warn" : "main";
    this.set("Model age", isNumber(age) ? ago(age) : "no model yet", `read replica of ${of}`, tone);
    this.set("Known to be the newest", ago(silence), "when it was last looked for");
    this.set("Learned", whole(status.samples), "samples, before it was published");
    this.set("Throughput", `${compact(status.predicted_per_second)}/s`, "predictions");
    this.spark("Throughput", status.predicted_per_second);
  }

  /** Remove the tiles, for another model. */
  clear() {
    this.recolour();
    this.tiles.clear();
    this.sparks.clear();
    fill(this.host);
  }

  recolour() {
    this.sparks.forEach((spark) => spark.recolour());
  }

  show(status, live) {
    if (status.replica_of) {
      this.showReplica(status);
      return;
    }
    if (status.state === "failed" && !status.samples) return; // nothing is known of it
    const { measure, served, baselines = {} } = status;
    this.set(
      `${measureName(measure ?? "score")} overall`,
      scored(measure, served),
      [against(measure, served, baselines), scoredNote(status, live)].filter(Boolean).join("; "),
      "main",
    );
    if (status.intervals) this.set("Coverage", ...coverageOf(status.intervals));
    this.set("Learned", whole(status.learned ?? status.samples), learnedNote(status, live));
    this.set(
      "Throughput",
      `${compact(status.learned_per_second)}/s`,
      isNumber(status.predicted_per_second)
        ? `${compact(status.predicted_per_second)} predictions/s`
        : "samples learned",
    );
    if (status.pending) this.set("Awaiting labels", whole(status.pending), "predictions with an id");
    else this.remove("Awaiting labels");
    this.set("Champion changes", whole(status.switches), plural(status.drifts, "drift"));
    const rejected = rejectedOf(status);
    this.set(
      "Rejected",
      whole(rejected),
      rejected ? "reasons below" : status.samples ? "all records were valid" : "none so far",
      rejected ? "warn" : "",
    );
    if (!live) return;
    const full = isNumber(status.max_queued) && status.in_flight >= 0.8 * status.max_queued;
    this.set(
      "Queue",
      whole(status.in_flight),
      `waiting to be learned${isNumber(status.max_queued) ? `; limit ${whole(status.max_queued)}` : ""}`,
      full ? "warn" : "",
    );
    this.set(
      "Last checkpoint",
      isNumber(status.checkpoint_age) ? ago(status.checkpoint_age) : "none yet",
      "to restart from",
    );
    for (const feed of status.feeds ?? []) {
      this.set(feedTitle(feed, status.feeds), feedValue(feed), feedNote(feed), feedTone(feed));
    }
    for (const { name, waiting, failure } of status.outputs ?? []) {
      const note = failure ? "wait to be sent: it takes none" : "wait to be sent";
      this.set(`Output ${words(name)}`, whole(waiting), note, failure ? "warn" : "");
    }
    this.spark("Throughput", status.learned_per_second);
    this.spark("Queue", status.in_flight);
  }
}

/** The best baseline, to compare the served score with. */
function against(measure, served, baselines) {
  const best = bestOf(measure, baselines);
  if (best === null || !isNumber(served)) return "no sample scored yet";
  return `${words(best[0])}: ${scored(measure, best[1])}`;
}

/** How many samples count as a caller got the prediction; the others came with their label. */
function scoredNote({ requested = 0, scored: count }, live) {
  if (!live || !count) return "";
  const notes = [];
  if (requested) notes.push(`${whole(requested)} as callers got it`);
  if (requested < count) notes.push(`${whole(count - requested)} test-then-train`);
  return notes.join(", ");
}

/** Coverage of prediction intervals or sets, and how it compares with their level. */
function coverageOf({ level, scored: count, recent, overall, sliding }) {
  const aim = `of ${DIGITS.format(100 * level)} %`;
  const lately = recent < count ? `; last ${whole(recent)}: ${percent(sliding.coverage)}` : "";
  return [percent(overall.coverage), aim + lately];
}

function learnedNote(status, live) {
  const notes = [];
  if (isNumber(status.unlabeled) && status.unlabeled)
    notes.push(`${whole(status.unlabeled)} without a label`);
  if (isNumber(status.uptime)) notes.push(`${live ? "up" : "in"} ${duration(status.uptime)}`);
  return notes.join(", ") || "samples";
}

function feedTitle({ name }, all) {
  return all.length > 1 ? `Feed ${name}` : "Feed";
}

/** How far files or a stream have been read. */
function feedValue({ state, connected, failure, progress, lag, records }) {
  if (state === "ended") return "all read";
  if (state !== "reading") return state;
  if (!connected && failure) return "offline";
  if (isNumber(lag)) return lag ? `${compact(lag)} behind` : "up to date";
  return isNumber(progress) ? percent(progress, 0) : compact(records);
}

function feedTone({ state, connected, failure }) {
  return state === "failed" || (!connected && failure) ? "warn" : "";
}

function feedNote({ records, stream, offset, line, lag }) {
  const name = stream?.split("/").at(-1);
  const where = isNumber(line) ? `, line ${whole(line)}` : isNumber(lag) ? ` at ${whole(offset)}` : "";
  return [`${whole(records)} ${records === 1 ? "record" : "records"}`, name && `${name}${where}`]
    .filter(Boolean)
    .join("; ");
}
