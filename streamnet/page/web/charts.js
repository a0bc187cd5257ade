"use strict";
// Small uPlot charts: sparklines and the histogram.

/** The colour of a class in the current theme. */
function colour(name) {
  const probe = element("span", { class: `swatch ${name}`, hidden: true });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** A sparkline of the last values of a polled quantity. */
class Sparkline {
  constructor(host, name) {
    this.host = host;
    this.name = name;
    this.values = [];
    this.plot = null;
  }

  add(value, most = 120) {
    this.values.push(isNumber(value) ? value : null);
    if (this.values.length > most) this.values.shift();
    if (this.values.length > 1) this.draw();
  }

  clear() {
    this.values = [];
    this.recolour();
  }

  recolour() {
    this.plot?.destroy();
    this.plot = null;
  }

  draw() {
    const data = [this.values.map((_, i) => i), this.values];
    if (this.plot) {
      this.plot.setData(data);
      return;
    }
    const stroke = colour("series-0");
    this.plot = new uPlot(
      {
        width: Math.max(this.host.clientWidth, 40),
        height: 34,
        padding: [3, 0, 3, 0],
        legend: { show: false },
        cursor: { show: false },
        axes: [{ show: false }, { show: false }],
        scales: {
          x: { time: false },
          y: { range: (_, low, high) => [Math.min(low, 0), Math.max(high, 1) * 1.05] },
        },
        series: [{}, { stroke, width: 1.5, points: { show: false } }],
      },
      data,
      this.host,
    );
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** A line through values, as wide and high as its style says; gaps where one is no number. */
function sparkLine(values) {
  const known = values.filter(isNumber);
  if (known.length < 2) return element("span", { class: "hint" }, "–");
  const low = Math.min(...known);
  const size = Math.max(...known) - low || 1;
  const x = (i) => (100 * i) / (values.length - 1);
  const y = (value) => 22 - (20 * (value - low)) / size;
  let d = "";
  values.forEach((value, i) => {
    const pen = i && isNumber(values[i - 1]) ? "L" : "M";
    if (isNumber(value)) d += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", d);
  svg.setAttribute("class", "spark-line");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `from ${digits(known[0])} to ${digits(known.at(-1))}`);
  svg.append(path);
  return svg;
}

/** A histogram: bars of counts between edges. */
class Histogram {
  constructor(host) {
    this.host = host;
    this.plot = null;
    this.observer = new ResizeObserver(() => {
      if (this.plot && host.clientWidth)
        this.plot.setSize({ width: host.clientWidth, height: 300 });
    });
    this.observer.observe(host);
  }

  /** Release the observer and the plot, which the window would otherwise keep alive. */
  destroy() {
    this.observer.disconnect();
    this.plot?.destroy();
  }

  draw({ edges, counts }) {
    const centres = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
    const axis = {
      stroke: colour("ink"),
      grid: { stroke: colour("line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const stroke = colour("series-0");
    this.plot = new uPlot(
      {
        width: this.host.clientWidth,
        height: 300,
        legend: { show: false },
        cursor: { show: false },
        padding: [10, 18, 0, 0],
        scales: {
          x: { time: false, range: [edges[0], edges[edges.length - 1]] },
          y: { range: (_, __, high) => [0, Math.max(high, 1) * 1.08] },
        },
        axes: [
          { ...axis, size: 32, values: (_, ticks) => ticks.map(digits) },
          { ...axis, size: 48, values: (_, ticks) => ticks.map((tick) => TICKS.format(tick)) },
        ],
        series: [
          {},
          {
            stroke,
            fill: stroke,
            paths: uPlot.paths.bars({ size: [0.9, 60] }),
            points: { show: false },
          },
        ],
      },
      [centres, counts],
      this.host,
    );
  }
}
