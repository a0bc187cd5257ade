"use strict";
// Theme: light, dark, or the system's.

const THEMES = ["auto", "light", "dark"];

/** The chosen theme, stored if the browser allows it. */
class Theme {
  constructor(button, changed) {
    this.button = button;
    this.changed = changed;
    this.set(this.kept());
    button.addEventListener("click", () =>
      this.set(THEMES[(THEMES.indexOf(this.name) + 1) % THEMES.length]),
    );
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  }

  kept() {
    try {
      const name = localStorage.getItem("streamnet-theme");
      return THEMES.includes(name) ? name : "auto";
    } catch (error) {
      if (error.name !== "SecurityError") throw error; // storage is disabled
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
