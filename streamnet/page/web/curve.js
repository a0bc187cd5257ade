"use strict";
// The curve: the score over time beside the baselines, with events marked on it.

const REACH = 8; // largest distance in pixels between the pointer and a mark that is described

/** Served score beside the baselines, with changes of champion and drifts as marks on the curve. */
class CurveChart {
  constructor(host, legend, label = "Point of the curve") {
    this.host = host;
    this.legend = legend;
    this.label = label;
    this.stretch = "recent";
    this.axis = "samples"; // or "time"
    this.span = "all"; // or the last seconds
    this.full = null; // the history as it was given
    this.history = null; // the part of it that is drawn
    this.plot = null;
    new ResizeObserver(() => this.resize()).observe(host);
    host.addEventListener("keydown", (event) => this.key(event));
  }

  show(history) {
    this.full = history;
    if (!history?.samples.length) {
      this.history = null;
      this.empty("The curve starts with the first samples that have a target.");
      return;
    }
    const names = Object.keys(history.series);
    const same =
      this.history !== null &&
      names.join() === this.names.join() &&
      this.history.measure === history.measure;
    this.history = partOf(history, this.axis, this.span);
    this.names = names;
    if (!this.history.x.length) this.empty("Nothing was scored in this time.");
    else if (same && this.plot) this.update();
    else this.draw();
  }

  /** Show another part of the history, or another axis. */
  look(axis, range) {
    this.axis = axis;
    this.span = range;
    if (this.full === null) return;
    this.destroy();
    this.show(this.full);
  }

  choose(stretch) {
    this.stretch = stretch;
    if (this.plot) this.update();
  }

  empty(text) {
    this.destroy();
    fill(this.host, element("p", { class: "empty" }, text));
    fill(this.legend);
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
  }

  data() {
    const { x, series } = this.history;
    return [x, ...this.names.map((name) => smoothed(this.history, series[name], this.stretch))];
  }

  /** Show new values, keeping the zoom. */
  update() {
    const { min, max } = this.plot.scales.x;
    const before = this.plot.data[0];
    const zoomed = min > before[0] || max < before[before.length - 1];
    this.plot.setData(this.data(), !zoomed);
    if (zoomed) this.plot.redraw();
    this.tell(this.plot.cursor.idx);
  }

  /** Redraw from scratch, as after a change of theme or series. */
  draw() {
    if (this.history === null) return;
    this.destroy();
    fill(this.host);
    this.colours = Object.fromEntries(
      ["ink", "line", "champion", "drift", "card"].map((name) => [name, colour(name)]),
    );
    const data = this.data();
    this.plot = new uPlot(this.options(), data, this.host);
    this.describe();
    this.tell(null);
  }

  options() {
    const { ink, line } = this.colours;
    const axis = {
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const measure = this.history.measure;
    return {
      width: this.host.clientWidth,
      height: this.height(),
      legend: { show: false },
      padding: [14, 14, 0, 0],
      scales: { x: { time: this.axis === "time" }, y: { range: (_, low, high) => this.range(low, high) } },
      axes: [
        this.axis === "time"
          ? { ...axis, size: 46, values: (_, ticks) => timeTicks(ticks) }
          : { ...axis, size: 32, values: (_, ticks) => ticks.map((tick) => TICKS.format(tick)) },
        {
          ...axis,
          size: 58,
          values: (_, ticks) =>
            ticks.map((tick) =>
              isPercentage(measure) ? `${DIGITS.format(100 * tick)} %` : digits(tick),
            ),
        },
      ],
      series: [{}, ...this.names.map((name, i) => this.line(name, i))],
      cursor: { points: { size: 8 }, y: false },
      hooks: {
        draw: [(plot) => this.marks(plot)],
        setCursor: [(plot) => this.tell(plot.cursor.idx)],
      },
    };
  }

  line(name, place) {
    const stroke = colour(`series-${place}`);
    const dashes = [[], [7, 4], [2, 4]][place] ?? [];
    return {
      label: name,
      stroke,
      width: place === 0 ? 2.4 : 1.6,
      dash: dashes,
      points: { show: this.history.samples.length < 3 },
    };
  }

  range(low, high) {
    if (!isNumber(low) || !isNumber(high)) return [0, 1];
    const room = Math.max(0.08 * (high - low), 1e-3 * Math.abs(high), 1e-9);
    const top = isPercentage(this.history.measure)
      ? Math.min(high + room, Math.max(1.005, high))
      : high + room;
    return [Math.max(low - room, 0), top];
  }

  height() {
    return this.host.clientWidth < 520 ? 240 : 320;
  }

  resize() {
    if (this.plot && this.host.clientWidth)
      this.plot.setSize({ width: this.host.clientWidth, height: this.height() });
  }

  marks(plot) {
    const { left, width } = plot.bbox;
    for (const mark of this.history.marks) {
      const x = plot.valToPos(mark.x, "x", true);
      if (x >= left && x <= left + width) this.mark(plot, mark, x);
    }
  }

  /**
   * A drift is a dashed line with a diamond, a change of the classes a line with a square, a new
   * champion a ring on the served curve.
   */
  mark(plot, mark, x) {
    const { ctx, bbox } = plot;
    const size = 5 * devicePixelRatio;
    ctx.save();
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.setLineDash([]);
    ctx.beginPath();
    if (mark.kind === "drift") {
      ctx.strokeStyle = ctx.fillStyle = this.colours.drift;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top - size);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + size);
      ctx.lineTo(x - size, bbox.top);
      ctx.closePath();
      ctx.fill();
    } else if (mark.kind === "classes") {
      ctx.strokeStyle = ctx.fillStyle = this.colours.ink;
      ctx.lineWidth = devicePixelRatio;
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillRect(x - size / 2, bbox.top - size / 2, size, size);
    } else {
      ctx.strokeStyle = this.colours.champion;
      ctx.fillStyle = this.colours.card;
      ctx.arc(x, plot.valToPos(this.servedAt(plot, mark.x), "y", true), size, 0, 2 * Math.PI);
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }

  servedAt(plot, place) {
    const [x, served] = plot.data;
    const after = x.findIndex((one) => one >= place);
    const at = after < 0 ? x.length - 1 : after;
    if (at === 0 || x[at] <= place) return served[at];
    const share = (place - x[at - 1]) / (x[at] - x[at - 1]);
    return served[at - 1] + share * (served[at] - served[at - 1]);
  }

  /** Show the values at a point in the legend; without an index, at the last one. */
  tell(index) {
    const data = this.plot?.data ?? this.data();
    const at = index ?? data[0].length - 1;
    const items = this.names.map((name, i) =>
      element(
        "span",
        { class: "item" },
        element("span", { class: `swatch series-${i}`, "aria-hidden": "true" }),
        element("span", {}, words(name)),
        element("strong", {}, scored(this.history.measure, data[i + 1][at])),
      ),
    );
    const kinds = new Set(this.history.marks.map((mark) => mark.kind));
    const marks = [
      ["champion", "new champion"],
      ["drift", "drift"],
      ["classes", "change of classes"],
    ]
      .filter(([kind]) => kinds.has(kind))
      .map(([kind, name]) =>
        element(
          "span",
          { class: "item" },
          element("span", { class: `sign ${kind}`, "aria-hidden": "true" }),
          element("span", {}, name),
        ),
      );
    const near = index === null || index === undefined ? null : this.near(at);
    fill(
      this.legend,
      element("span", { class: "item place" }, this.place(at)),
      ...items,
      ...marks,
      element("span", { class: "item near" }, near === null ? "" : near.text),
    );
    this.value(at);
  }

  /** The curve as it is shown, with a column for each line. */
  saveCsv(name) {
    if (!this.plot) return;
    const [, ...lines] = this.plot.data;
    const { samples, times } = this.history;
    const rows = samples.map((sample, i) => [
      sample,
      ...(times ? [new Date(1000 * times[i]).toISOString()] : []),
      ...lines.map((values) => values[i]),
    ]);
    saveCsv(name, [["sample", ...(times ? ["time"] : []), ...this.names], ...rows]);
  }

  savePng(name) {
    if (this.plot) savePng(name, this.plot.ctx.canvas, this.colours.card);
  }

  /** Where a point lies, in words. */
  place(at) {
    const { samples, times } = this.history;
    const sample = `sample ${whole(samples[at])}`;
    return times ? `${sample}, ${moment(times[at])}` : sample;
  }

  near(at) {
    const x = this.plot.valToPos(this.plot.data[0][at], "x");
    const distances = this.history.marks.map((mark) =>
      Math.abs(this.plot.valToPos(mark.x, "x") - x),
    );
    const least = Math.min(...distances);
    return least <= REACH ? this.history.marks[distances.indexOf(least)] : null;
  }

  /** Present the curve to the keyboard and to screen readers as a slider over its points. */
  describe() {
    for (const [name, value] of [
      ["role", "slider"],
      ["tabindex", "0"],
      ["aria-valuemin", "0"],
      ["aria-label", this.label],
      ["aria-describedby", "curve-hint"],
    ]) {
      this.host.setAttribute(name, value);
    }
  }

  value(at) {
    if (!this.plot) return;
    const { data } = this.plot;
    const told = this.names.map(
      (name, i) => `${words(name)} ${scored(this.history.measure, data[i + 1][at])}`,
    );
    this.host.setAttribute("aria-valuemax", String(data[0].length - 1));
    this.host.setAttribute("aria-valuenow", String(at));
    this.host.setAttribute("aria-valuetext", `${this.place(at)}: ${told.join(", ")}`);
  }

  key(event) {
    if (!this.plot) return;
    const last = this.plot.data[0].length - 1;
    const at = this.plot.cursor.idx ?? last;
    const step = Math.max(1, Math.round(last / 20));
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      PageDown: at - step,
      PageUp: at + step,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const index = Math.min(Math.max(to, 0), last);
    const left = this.plot.valToPos(this.plot.data[0][index], "x");
    this.plot.setCursor({ left, top: this.plot.over.clientHeight / 2 });
  }
}
