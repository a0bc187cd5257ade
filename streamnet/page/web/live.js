"use strict";
// Live view of a daemon: polls one model at a time and follows its events.

const REFRESH = 2000; // milliseconds between polls

class Live {
  constructor(page) {
    this.page = page;
    this.daemon = new Daemon();
    this.name = null;
    this.following = new AbortController();
    this.attempt = 0;
    this.wake = () => {};
    this.trying = new TryForm(
      { card: byId("try-card"), form: byId("try"), fields: byId("fields"), prediction: byId("prediction") },
      (sample) => this.daemon.post(modelPath(this.name, "predict"), { sample, explain: true }),
    );
    byId("models").addEventListener("change", (event) => this.choose(event.target.value));
    document.addEventListener("visibilitychange", () => this.wake());
    for (const button of document.querySelectorAll("button[data-format]")) {
      button.addEventListener("click", () => this.download(button.dataset.format));
    }
    this.listenToToken();
  }

  /** Download the model via a blob, since a link can't send the token. */
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
    this.page.connection("token required", "bad");
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
    this.trying.show(name, []); // until the model's columns are known
    this.poll(this.following.signal);
  }

  async poll(signal) {
    while (!signal.aborted) {
      try {
        if (!document.hidden) await this.refresh(signal);
        this.attempt = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (error.forToken) {
          this.askForToken();
          return;
        }
        this.page.connection(
          error instanceof Refused ? error.message : "no connection; retrying",
          "bad",
        );
        this.attempt += 1;
      }
      await Promise.race([
        pause(this.attempt ? backoff(this.attempt) : REFRESH, signal),
        new Promise((resolve) => {
          this.wake = resolve;
        }),
      ]);
    }
  }

  async refresh(signal) {
    const models = await this.daemon.get("models", signal);
    this.offer(models.map((model) => model.name));
    if (this.name === null) {
      this.page.connection("no model yet", "warn");
      return;
    }
    const get = (...rest) => this.daemon.getIfReady(modelPath(this.name, ...rest), signal);
    const status = await this.daemon.get(modelPath(this.name), signal);
    // Before the first sample there are no scores, and the daemon would refuse the requests.
    const scored = (path) => (status.samples > 0 ? get(path) : null);
    const [history, outcomes, leaders, rejected] = await Promise.all([
      scored("history"),
      scored("confusion"),
      get("leaders"),
      get("rejected"),
    ]);
    if (signal.aborted) return;
    this.page.show({ status, history, leaders, outcomes, rejected }, true);
    if (status.generation !== null && status.generation !== undefined) await this.offerForm(get);
    this.followEvents(signal);
  }

  /** Show the form for the model's current columns; new ones may appear at any time. */
  async offerForm(get) {
    const champion = await get("champion");
    this.trying.show(this.name, champion?.fields ?? []);
  }

  offer(names) {
    const select = byId("models");
    whenChanged(select, names, () =>
      fill(select, ...names.map((name) => element("option", { value: name }, name))),
    );
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

  /** Poll soon, and only once for any number of events. */
  wakeSoon() {
    if (this.waking) return;
    this.waking = setTimeout(() => {
      this.waking = 0;
      this.wake();
    }, REFRESH / 4);
  }
}
