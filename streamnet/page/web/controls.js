"use strict";
// What may be done with a model, as far as the token's scopes allow it.

const CONFIRMED = {
  reset: {
    title: "Reset this model?",
    text: "It starts afresh and forgets what it has learned. The old state is kept in its folder until three later resets.",
    yes: "Reset",
  },
};

class Controls {
  constructor({ card, list, note, failed }, { act, download, done }) {
    this.card = card;
    this.list = list;
    this.note = note;
    this.failed = failed;
    this.act = act;
    this.download = download;
    this.done = done;
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-act], button[data-format]");
      if (button) this.run(button);
    });
  }

  /** Show what applies to a model in this state; `scopes` are those of the token. */
  show(status, scopes) {
    this.card.hidden = false;
    const admin = scopes.includes("admin");
    const who = status.replica_of ? `Learning is controlled at ${status.replica_of}` : "Changes need a token with the scope admin";
    this.note.textContent = admin ? "" : who;
    const key = [status.name, status.state, isFeedFailed(status), isNumber(status.generation), admin];
    whenChanged(this.list, key, () => {
      this.failed.textContent = "";
      fill(this.list, ...controlsOf(status).map((control) => controlRow(control, admin)));
    });
  }

  async run(button) {
    const { act, format } = button.dataset;
    if (CONFIRMED[act] && !(await confirmed(CONFIRMED[act]))) return;
    button.disabled = true;
    this.failed.textContent = "";
    try {
      await (format ? this.download(format) : this.act(act));
    } catch (error) {
      this.failed.textContent = error.message;
    } finally {
      button.disabled = false;
      this.done();
    }
  }
}

function isFeedFailed({ feeds = [] }) {
  return feeds.some((feed) => feed.state === "failed");
}

function controlsOf(status) {
  return [
    ...(status.replica_of ? [] : learningControls(status)),
    ...(isNumber(status.generation)
      ? [
          { format: "safetensors", name: "Download .safetensors", text: "The model as a file, for streamnet predict and Model.load." },
          { format: "json", name: "Download .json", text: "The same to be read by anything." },
          { format: "onnx", name: "Download .onnx", text: "To predict in onnxruntime and others, without streamnet." },
          { format: "c", name: "Download .c", text: "To predict on devices: C99 without dependencies." },
        ]
      : []),
  ];
}

function learningControls(status) {
  const halted = status.state === "paused" || status.state === "failed" || isFeedFailed(status);
  return [
    halted
      ? { act: "resume", name: "Resume", text: "Learn again, also after a failure." }
      : { act: "pause", name: "Pause", text: "Stop learning; predictions go on, and samples wait in the queue." },
    { act: "reset", name: "Reset …", text: "Start afresh; the old state is archived." },
  ];
}

function controlRow({ act, format, name, text }, admin) {
  const button = element(
    "button",
    {
      type: "button",
      class: "quiet",
      "data-act": act ?? null,
      "data-format": format ?? null,
      disabled: act !== undefined && !admin,
    },
    name,
  );
  return element("div", {}, element("dt", {}, button), element("dd", { class: "hint" }, text));
}

/** Ask before something that can't be undone; true if the answer is yes. */
function confirmed({ title, text, yes }) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
