"use strict";
// Live view of a daemon: polls one model, or all of them, and follows the events of one.

const REFRESH = 2000; // milliseconds between polls of a model
const INSIGHT = 20000; // and of what matters to it
const REFRESH_ALL = 5000; // and of all models

class Live {
  constructor(page) {
    this.page = page;
    this.daemon = new Daemon();
    this.name = null; // of the model that is shown; null: all of them
    this.following = new AbortController();
    this.attempt = 0;
    this.scopes = null; // of the token, once they are known
    this.wake = () => {};
    this.trying = new TryForm(
      {
        card: byId("try-card"),
        form: byId("try"),
        fields: byId("fields"),
        prediction: byId("prediction"),
        last: byId("try-last"),
        clear: byId("try-clear"),
        json: byId("try-json"),
        note: byId("try-json-note"),
      },
      (sample) => this.daemon.post(modelPath(this.name, "predict"), { sample, explain: true }),
    );
    this.controls = new Controls(
      {
        card: byId("controls-card"),
        list: byId("controls"),
        note: byId("controls-note"),
        failed: byId("controls-failed"),
      },
      {
        act: (what) => this.daemon.act(modelPath(this.name, what)),
        download: (format) => this.download(format),
        done: () => this.wake(),
      },
    );
    this.overview = new Overview(
      byId("overview"),
      byId("overview-table"),
      byId("overview-note"),
      (name) => this.open(name),
    );
    page.otherModel = (name) => this.daemon.get(modelPath(name));
    this.begin = new FirstSteps(byId("begin-card"), byId("begin-note"), byId("begin-line"));
    byId("models").addEventListener("change", (event) => this.open(event.target.value || null));
    byId("home").href = "?";
    byId("home").addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.open(null);
    });
    window.addEventListener("popstate", () => this.choose(namedInAddress()));
    document.addEventListener("visibilitychange", () => this.wake());
    this.listenToToken();
  }

  async download(format) {
    const blob = await this.daemon.bytes(modelPath(this.name, `model?format=${format}`));
    save(`${this.name}.${format}`, blob);
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
    byId("token-open").addEventListener("click", () => this.askForToken());
  }

  askForToken() {
    this.following.abort();
    this.page.connection("token required", "bad");
    byId("token-open").hidden = false;
    byId("token-refused").hidden = !this.daemon.token;
    if (!byId("token").open) byId("token").showModal();
  }

  start() {
    this.scopes = null;
    this.choose(namedInAddress());
  }

  /** Show another model, or all (null), at an address of its own. */
  open(name) {
    window.history.pushState(null, "", name === null ? "?" : modelAddress(name));
    this.choose(name);
  }

  choose(name) {
    this.following.abort();
    this.following = new AbortController();
    this.name = name;
    this.attempt = 0;
    this.insight = null;
    this.features = null;
    this.keys = null;
    this.insightExpires = 0;
    this.looking = null;
    this.woken = false;
    byId("token-open").hidden = true;
    this.page.tiles.clear();
    this.page.events.clear();
    this.trying.show(name, []); // until the model's columns are known
    this.poll(this.following.signal);
  }

  async poll(signal) {
    while (!signal.aborted) {
      let rest = REFRESH;
      try {
        if (!document.hidden) rest = await this.refresh(signal);
        this.attempt = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (error.forToken) {
          this.askForToken();
          return;
        }
        this.page.lost(error instanceof Refused ? error.message : "no connection; retrying");
        this.attempt += 1;
      }
      if (this.woken && !this.attempt) rest = 0;
      this.woken = false;
      await Promise.race([
        pause(this.attempt ? backoff(this.attempt) : rest, signal),
        new Promise((resolve) => {
          this.wake = resolve;
        }),
      ]);
    }
  }

  /** Show what the daemon has now; returns the milliseconds until it is asked again. */
  async refresh(signal) {
    const models = await this.daemon.get("models", signal);
    this.scopes ??= (await this.daemon.get("permissions", signal)).scopes;
    if (signal.aborted) return REFRESH;
    const names = models.map((model) => model.name);
    this.offer(names);
    this.page.found();
    if (this.name === null && names.length === 1) [this.name] = names;
    const overview = this.name === null && names.length > 1;
    this.page.view(overview);
    if (overview) return this.refreshAll(signal);
    if (this.name === null) {
      this.page.connection("no model yet", "warn");
      return REFRESH;
    }
    await this.refreshModel(signal, names);
    return REFRESH;
  }

  async refreshAll(signal) {
    const lines = await this.daemon.get("overview", signal);
    if (signal.aborted) return REFRESH;
    this.overview.show(lines);
    this.page.connection("live", "good");
    return REFRESH_ALL;
  }

  async refreshModel(signal, names) {
    const get = (...rest) => this.daemon.getIfReady(modelPath(this.name, ...rest), signal);
    const status = await this.daemon.get(modelPath(this.name), signal);
    const learns = !status.replica_of; // a read replica knows no scores
    // Before the first sample there are no scores, and the daemon would refuse the requests.
    const ifScored = (path) => (learns && status.samples > 0 ? get(path) : null);
    const [past, outcomes, scores, leaders, rejected] = await Promise.all([
      ifScored("history"),
      ifScored("confusion"),
      ifScored("scores"),
      learns ? get("leaders") : [],
      learns ? get("rejected") : null,
    ]);
    if (signal.aborted) return;
    // Not waited for: a daemon may explain predictions of many columns meanwhile, for seconds.
    if (learns && status.samples > 0) this.lookSoon(status, get, signal);
    const { insight, features, keys } = this;
    const shown = { status, history: past, leaders, outcomes, rejected, scores };
    this.page.show({ ...shown, insight, features, keys }, true);
    this.trying.offer(insight?.last ?? null);
    document.title = titleOf(status);
    this.page.compare.show(leaders, status, names);
    this.controls.show(status, learns ? this.scopes : []);
    const published = isNumber(status.generation);
    this.begin.show(status, published, this.daemon.token !== null);
    if (published) await this.offerForm(get);
    this.followEvents(signal);
  }

  /** Look into a model now and then, and show it once it is there: it takes longer to find out. */
  lookSoon(status, get, signal) {
    const known = this.insightOf === this.name && Date.now() < this.insightExpires;
    if (known || this.looking === signal) return;
    this.looking = signal;
    this.look(status, get, signal)
      .catch((error) => {
        if (!signal.aborted) this.page.lost(error.message); // the next poll says it for good
      })
      .finally(() => {
        if (this.looking === signal) this.looking = null;
      });
  }

  async look({ keys }, get, signal) {
    const found = await Promise.all([
      get("insight"),
      get("features"),
      keys ? get("keys?count=5") : null,
    ]);
    if (signal.aborted) return;
    [this.insight, this.features, this.keys] = found;
    this.insightOf = this.name;
    this.insightExpires = Date.now() + (this.insight?.permuted ? INSIGHT : REFRESH);
    this.wakeNow();
  }

  /** Poll at once, or as soon as the present poll has ended. */
  wakeNow() {
    this.woken = true;
    this.wake();
  }

  /** Show the form for the model's current columns; new ones may appear at any time. */
  async offerForm(get) {
    const champion = await get("champion");
    this.trying.show(this.name, champion?.fields ?? []);
  }

  offer(names) {
    const select = byId("models");
    const all = names.length > 1 ? [["", "All models"]] : [];
    const options = [...all, ...names.map((name) => [name, name])];
    whenChanged(select, options, () =>
      fill(select, ...options.map(([value, text]) => element("option", { value }, text))),
    );
    if (this.name !== null && !names.includes(this.name)) {
      window.history.replaceState(null, "", "?");
      this.name = null; // it was deleted, or never was
    }
    select.value = this.name ?? "";
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

  /** Poll soon, and only once for any number of events. */
  wakeSoon() {
    if (this.waking) return;
    this.waking = setTimeout(() => {
      this.waking = 0;
      this.wake();
    }, REFRESH / 4);
  }
}

/** The model that the page's address names; null for none. */
function namedInAddress() {
  return new URLSearchParams(location.search).get("model");
}

function titleOf({ name, state, measure, served, ...rest }) {
  const { score } = latelyOf({ served, ...rest });
  const said = isNumber(score) ? `: ${measureName(measure)} ${scored(measure, score)}` : "";
  return `${state === "learning" ? "" : `${state}: `}${name}${said} - streamnet`;
}

/** How to send the first samples to a model that has none. */
class FirstSteps {
  constructor(card, note, line) {
    this.card = card;
    this.note = note;
    this.line = line;
    byId("begin-copy").addEventListener("click", () =>
      navigator.clipboard.writeText(line.textContent),
    );
  }

  show({ name, state, target, task, accepted = 0 }, published, hasToken) {
    this.card.hidden = published || accepted > 0 || state !== "learning";
    const address = new URL(`v1/models/${encodeURIComponent(name)}/samples`, document.baseURI);
    const value = task === "regression" ? "12.5" : '"yes"';
    const sample = `{"samples": [{"x": 1.5, ${JSON.stringify(target ?? "target")}: ${value}}]}`;
    const token = hasToken ? ' -H "Authorization: Bearer $STREAMNET_TOKEN"' : "";
    address.search = "";
    this.note.textContent = `This model is empty. It learns the column ${target} from whatever other columns samples have:`;
    this.line.textContent = `curl ${address}${token} --json '${sample.replaceAll("'", "'\\\\''")}'`;
  }
}
