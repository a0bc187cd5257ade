"use strict";
// The page: a report that lies within it is shown once, a daemon's models are followed live.

const REFRESH = 2000; // milliseconds between two looks at a model
const THEMES = ["auto", "light", "dark"];

class Page {
  constructor() {
    this.curve = new CurveChart(byId("curve"), byId("legend"));
    this.tiles = new Tiles(byId("tiles"));
    this.leaders = new Leaders(byId("leaders"), byId("leaders-note"));
    this.scores = new Scores(byId("scores-card"), byId("scores"));
    this.events = new Events(byId("events"), byId("announcement"));
    this.outcomes = new Outcomes(byId("outcomes"), byId("outcomes-title"), byId("outcomes-note"));
    this.events.clear();
    for (const radio of document.querySelectorAll("input[name=stretch]")) {
      radio.addEventListener("change", () => this.curve.choose(radio.value));
    }
  }

  /** One model's shapes, as the daemon answers them or a report holds them. */
  show({ status, history, leaders, outcomes, rejected, scores = {}, facts = [] }, live) {
    const aim = typeof status.target === "string" ? ` predicts ${status.target}` : "";
    fill(byId("name"), element("span", { class: "model-name" }, status.name), aim);
    byId("state").hidden = false;
    byId("state").textContent = status.state;
    byId("state").dataset.tone = { learning: "good", failed: "bad", paused: "warn" }[status.state] ?? "";
    byId("failure").hidden = !status.failure;
    byId("failure").textContent = status.failure ?? "";
    this.tiles.show(status, live);
    // With its name, since another model may have the very same shapes.
    const { name, measure, samples } = status;
    whenChanged(byId("curve"), [name, history], () => this.curve.show(history));
    whenChanged(byId("leaders"), [name, measure, samples, leaders], () => this.leaders.show(leaders, status));
    whenChanged(byId("outcomes"), [name, outcomes], () => this.outcomes.show(outcomes));
    whenChanged(byId("rejected"), rejected, () => showRejected(byId("rejected"), byId("rejected-note"), rejected));
    whenChanged(byId("scores"), scores, () => this.scores.show(scores));
    whenChanged(byId("facts"), facts, () => showFacts(byId("facts-card"), byId("facts"), facts));
  }

  connection(text, tone = "") {
    byId("connection").textContent = text;
    byId("connection").dataset.tone = tone;
  }

  recolour() {
    this.curve.draw();
    this.tiles.recolour();
    this.outcomes.recolour();
  }
}

/** Follows one model of a daemon at a time: polls its state, reads its events. */
class Live {
  constructor(page) {
    this.page = page;
    this.daemon = new Daemon();
    this.name = null;
    this.following = new AbortController();
    this.attempt = 0;
    this.wake = () => {};
    this.trying = new TryForm({ card: byId("try-card"), form: byId("try"), fields: byId("fields"), answer: byId("answer") },
      (sample) => this.daemon.post(modelPath(this.name, "predict"), { sample, explain: true }));
    byId("models").addEventListener("change", (event) => this.choose(event.target.value));
    document.addEventListener("visibilitychange", () => this.wake());
    for (const button of document.querySelectorAll("button[data-format]")) {
      button.addEventListener("click", () => this.download(button.dataset.format));
    }
    this.listenToToken();
  }

  /** By way of a blob, since a link can't send the token. */
  async download(format) {
    const { name } = this;
    byId("download-failed").textContent = "";
    try {
      const blob = await this.daemon.bytes(modelPath(name, `model?format=${format}`));
      const link = element("a", { href: URL.createObjectURL(blob), download: `${name}.${format}` });
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      byId("download-failed").textContent = error.message;
    }
  }

  listenToToken() {
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.daemon.token = byId("token-value").value;
      byId("token-value").value = "";
      byId("token").close();
      this.start();
    });
    byId("token-cancel").addEventListener("click", () => byId("token").close());
  }

  askForToken() {
    this.following.abort();
    this.page.connection("a token is needed", "bad");
    byId("token-refused").hidden = !this.daemon.token;
    if (!byId("token").open) byId("token").showModal();
  }

  start() {
    this.choose(this.name);
  }

  choose(name) {
    this.following.abort();
    this.following = new AbortController();
    this.name = name;
    this.attempt = 0;
    this.page.tiles.clear();
    this.page.events.clear();
    this.trying.show(name, []); // until it is known what this model reads
    this.poll(this.following.signal);
  }

  async poll(signal) {
    while (!signal.aborted) {
      try {
        if (!document.hidden) await this.look(signal);
        this.attempt = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (error.forToken) {
          this.askForToken();
          return;
        }
        this.page.connection(error instanceof Refused ? error.message : "no connection; trying again", "bad");
        this.attempt += 1;
      }
      await Promise.race([pause(this.attempt ? backoff(this.attempt) : REFRESH, signal), new Promise((resolve) => { this.wake = resolve; })]);
    }
  }

  async look(signal) {
    const models = await this.daemon.get("models", signal);
    this.offer(models.map((model) => model.name));
    if (this.name === null) {
      this.page.connection("no model yet", "warn");
      return;
    }
    const get = (...rest) => this.daemon.getIfReady(modelPath(this.name, ...rest), signal);
    const status = await this.daemon.get(modelPath(this.name), signal);
    // There is neither a score nor a curve before the first sample, and asking would be refused.
    const scored = (shape) => (status.samples > 0 ? get(shape) : null);
    const [history, outcomes, leaders, rejected] = await Promise.all([scored("history"), scored("confusion"), get("leaders"), get("rejected")]);
    if (signal.aborted) return;
    this.page.show({ status, history, leaders, outcomes, rejected }, true);
    if (status.generation !== null && status.generation !== undefined) await this.offerForm(get);
    this.followEvents(signal);
  }

  /** The form is of what the model reads now; a column may appear at any time. */
  async offerForm(get) {
    const champion = await get("champion");
    this.trying.show(this.name, champion?.fields ?? []);
  }

  offer(names) {
    const select = byId("models");
    whenChanged(select, names, () => fill(select, ...names.map((name) => element("option", { value: name }, name))));
    if (!names.includes(this.name)) this.name = names[0] ?? null;
    if (this.name !== null) select.value = this.name;
    byId("picker").hidden = names.length < 2;
  }

  followEvents(signal) {
    if (this.followed === signal) return;
    this.followed = signal;
    new EventReader(this.daemon, modelPath(this.name, "events"), {
      event: (event) => {
        this.page.events.add(event);
        if (event.kind !== "checkpoint") this.wakeSoon();
      },
      connected: () => this.page.connection("live", "good"),
      lost: (error) => {
        if (error?.forToken) this.askForToken();
        else this.page.connection("reconnecting", "warn");
      },
    }).follow(signal);
  }

  /** What has happened is looked at soon, however much happens. */
  wakeSoon() {
    if (this.waking) return;
    this.waking = setTimeout(() => {
      this.waking = 0;
      this.wake();
    }, REFRESH / 4);
  }
}

/** The reader's choice of theme; kept where the browser lets a page keep something. */
class Theme {
  constructor(button, changed) {
    this.button = button;
    this.changed = changed;
    this.set(this.kept());
    button.addEventListener("click", () => this.set(THEMES[(THEMES.indexOf(this.name) + 1) % THEMES.length]));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  }

  kept() {
    try {
      const name = localStorage.getItem("streamnet-theme");
      return THEMES.includes(name) ? name : "auto";
    } catch (error) {
      if (error.name !== "SecurityError") throw error; // a browser that lets no page keep anything
      return "auto";
    }
  }

  set(name) {
    this.name = name;
    document.documentElement.dataset.theme = name;
    this.button.textContent = `Theme: ${name}`;
    try {
      localStorage.setItem("streamnet-theme", name);
    } catch (error) {
      if (error.name !== "SecurityError" && error.name !== "QuotaExceededError") throw error;
    }
    this.changed();
  }
}

function showReport(page, report) {
  document.title = `${report.status.name}: report of streamnet`;
  document.body.classList.add("report");
  page.connection("report", "");
  page.show(report, false);
  for (const event of report.events) page.events.add(event);
}

function begin() {
  const page = new Page();
  const report = byId("report");
  new Theme(byId("theme"), () => page.recolour());
  if (report) showReport(page, JSON.parse(report.textContent));
  else new Live(page).start();
}

begin();
