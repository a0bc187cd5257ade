"use strict";
// What is wrong with a model or the connection: what, since when, and what to do about it.

// What to do about each kind of trouble that the daemon reports.
const REMEDIES = {
  failed:
    "Fix the cause, then resume below: everything that was accepted is kept and will be learned. Or reset it, which starts afresh and archives the old state.",
  disk: "Free space on the daemon's disk, or repair it. Samples are accepted again by themselves then; senders repeat what was refused.",
  queue:
    "Senders that respect Retry-After lose nothing. If it stays full, send less or use fewer candidates.",
  target:
    "Is that really the name of the target? If not, create the model with the right one. If labels come later, send them with the ids of their predictions.",
  feed: "Fix the file or the stream, then resume below: reading continues where it stopped. A broker that is away is tried again by itself.",
  output:
    "Mend the stream or the web address, or the network to it. It is tried again by itself; nothing is lost or sent twice.",
  checkpoint:
    "See whether the daemon's disk is full or failing. Nothing is lost: the journal has all samples, but a restart takes longer.",
  rejected: "The table of rejected records below shows the latest ones, and why.",
  replica:
    "See whether the daemon or folder that this replica follows is there. It goes on predicting with the model that it has, and looks again by itself.",
  score:
    "The columns may say little about the target, or its meaning has just changed: see drifts on the curve.",
};
const GRAVE = new Set(["failed", "disk", "target", "feed", "output", "checkpoint"]);

/** The state of a model in words: one that was sent nothing yet does not learn. */
function stateInWords({ state, samples, accepted }) {
  return state === "learning" && !samples && accepted === 0 ? "waiting for samples" : state;
}

/** Problems as `{kind, tone, what, todo, since}`, of a status of the daemon. */
function problemsOf(status) {
  const found = (status.troubles ?? []).map(({ kind, message, since, refuses }) => ({
    kind,
    tone: GRAVE.has(kind) || refuses ? "bad" : "warn",
    what: capitalized(refuses ? `${message}. Samples are refused.` : message),
    todo: REMEDIES[kind] ?? "See the daemon's log.",
    since,
  }));
  if (status.state === "paused") found.push(pausedProblem(status));
  return found.sort((a, b) => (a.tone > b.tone) - (a.tone < b.tone)); // "bad" before "warn"
}

function pausedProblem({ in_flight: queued, max_queued: most }) {
  return {
    kind: "paused",
    tone: "warn",
    what: "Learning is paused; predictions are still answered",
    todo: `Samples are accepted until the queue is full (${whole(queued)} of ${whole(most)} now). Resume below to learn them.`,
  };
}

/** The problems of the page, each with the time at which it was first seen. */
class Problems {
  constructor(host) {
    this.host = host;
    this.since = new Map(); // by model and kind
    this.lost = null; // the lost connection
  }

  /** The connection was lost, or is there again (null). */
  connection(what) {
    this.lost = what && {
      kind: "lost",
      tone: "bad",
      what,
      todo: "What is shown is from before. The page tries again by itself.",
    };
    this.draw();
  }

  /** Show what is wrong with a model. */
  show(name, problems) {
    this.name = name;
    this.problems = problems;
    this.draw();
  }

  draw() {
    const shown = [this.lost, ...(this.problems ?? [])].filter(Boolean);
    const keys = new Set(shown.map((one) => this.key(one)));
    for (const key of this.since.keys()) if (!keys.has(key)) this.since.delete(key);
    const rows = shown.map((one) => {
      const key = this.key(one);
      if (!this.since.has(key)) this.since.set(key, Date.now() / 1000);
      return { ...one, since: moment(one.since ?? this.since.get(key)) };
    });
    whenChanged(this.host, rows, () => fill(this.host, ...rows.map(problemBox)));
  }

  key(problem) {
    return problem === this.lost ? "lost" : `${this.name} ${problem.kind}`;
  }
}

function problemBox({ tone, what, todo, since }) {
  const time = element("span", { class: "hint" }, `since ${since}`);
  return element(
    "div",
    { class: `problem ${tone}` },
    element("p", {}, element("strong", {}, what), " ", time),
    element("p", { class: "todo" }, todo),
  );
}
