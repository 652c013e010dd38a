// Plots on a canvas: lines over the last minutes, one sample a second, with a summary as text.

import { framed, h, setText } from "./dom.js";
import { clockTime } from "./format.js";

export const SPAN_S = 300;
const SUMMARY_MS = 10_000;
const GAP_S = 5;
const LEFT = 58;
const BOTTOM = 18;
const TOP = 8;

// Return the end of an axis from 0 and its ticks: round numbers, up to the first one that is not below the largest value.
// ``least``: the least end, so that noise does not look like load.
export function scale(largest, least = 1, steps = 4) {
  const target = Math.max(least, Number.isFinite(largest) ? largest : 0);
  const rough = target / steps;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * (1 - 1e-9));
  const end = Math.ceil(target / step - 1e-9) * step;
  const ticks = [];
  for (let index = 0; index * step <= end * (1 + 1e-9); index += 1) ticks.push(Number((index * step).toPrecision(12)));
  return { end, ticks };
}

// Return the pieces of a line, [[time, value], …] each: it has a gap where values are missing.
export function pieces(samples, valueOf, gap = GAP_S) {
  const found = [];
  let piece = null;
  let before = -Infinity;
  for (const sample of samples) {
    const value = valueOf(sample);
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    if (piece === null || sample.time - before > gap) found.push((piece = []));
    piece.push([sample.time, value]);
    before = sample.time;
  }
  return found;
}

// Return the least, the mean and the largest of the values; null without any.
export function extent(samples, valueOf) {
  let [low, high, sum, number] = [Infinity, -Infinity, 0, 0];
  for (const sample of samples) {
    const value = valueOf(sample);
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
    sum += value;
    number += 1;
  }
  return number ? { low, high, mean: sum / number } : null;
}

// Return the index of the sample nearest to a time; -1 without samples, which are in the order of their times.
export function nearest(samples, time) {
  let [low, high] = [0, samples.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle].time < time) low = middle + 1;
    else high = middle;
  }
  if (low > 0 && time - samples[low - 1].time < samples[low].time - time) low -= 1;
  return samples.length ? low : -1;
}

// A panel: its title, the newest values, the plot and its summary.
// ``series``: [{name, value(sample), color: the number of a colour}]; ``text``: makes a value a text; ``least``: see scale().
export class Plot {
  #title;
  #series;
  #text;
  #least;
  #samples = [];
  #now = 0;
  #pointer = null;
  #colors = null;
  #canvas;
  #summary;
  #tip;
  #values;
  #spoken = 0;
  #observer;

  constructor({ title, series, text, id, least = 1 }) {
    this.#title = title;
    this.#series = series;
    this.#text = text;
    this.#least = least;
    this.#canvas = h("canvas", { role: "img", "aria-label": `${title}: no samples yet` });
    this.#summary = h("p.plot-summary");
    this.#tip = h("div.plot-tip", { hidden: true, "aria-hidden": "true" });
    this.#values = series.map(() => h("span.plot-value", {}, "–"));
    const legend = series.map(({ name, color }, index) =>
      h(
        "div.plot-now",
        {},
        series.length > 1 ? h(`span.swatch.series-${color}`, { "aria-hidden": "true" }) : null,
        series.length > 1 ? h("span.plot-name", {}, name) : null,
        this.#values[index],
      ),
    );
    this.element = h(
      "figure.plot",
      { "data-plot": id },
      h("figcaption", {}, h("h2", {}, title), h("div.plot-legend", {}, ...legend)),
      h("div.plot-area", {}, this.#canvas, this.#tip),
      this.#summary,
    );
    this.draw = framed(() => this.#draw());
    this.#observer = new ResizeObserver(this.draw);
    this.#observer.observe(this.#canvas);
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#point(null));
    this.#onTheme = () => {
      this.#colors = null;
      this.draw();
    };
    window.addEventListener("themechange", this.#onTheme);
  }

  #onTheme;

  end() {
    this.#observer.disconnect();
    window.removeEventListener("themechange", this.#onTheme);
    this.draw.cancel();
  }

  // Take the samples, in the order of their times, which are plotted up to ``now``.
  update(samples, now) {
    const from = now - SPAN_S;
    this.#samples = samples.filter(({ time }) => time >= from - 2);
    this.#now = now;
    const newest = this.#samples.at(-1);
    this.#series.forEach(({ value }, index) => setText(this.#values[index], newest ? this.#text(value(newest)) : "–"));
    this.#say();
    this.draw();
  }

  // The text in the place of the picture. It is not changed each second: a reader would begin again.
  #say() {
    if (performance.now() - this.#spoken < SUMMARY_MS && this.#spoken) return;
    const parts = [];
    for (const { name, value } of this.#series) {
      const found = extent(this.#samples, value);
      if (!found) continue;
      const [low, high, mean] = [found.low, found.high, found.mean].map(this.#text);
      const range = low === high ? low : `${low} to ${high}`;
      if (this.#series.length > 1) parts.push(`${name} ${range}`);
      else parts.push(low === high ? range : `${range}, mean ${mean}`);
    }
    if (!parts.length) {
      setText(this.#summary, this.#samples.length ? "No values in this time" : "Waiting for samples…");
      return;
    }
    this.#spoken = performance.now();
    setText(this.#summary, parts.join(" · "));
    this.#canvas.setAttribute("aria-label", `${this.#title}, the last 5 minutes: ${parts.join("; ")}`);
  }

  #point(x) {
    this.#pointer = x;
    this.draw();
  }

  // --- the picture ---

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.#colors ??= colorsOf(this.#canvas);
    const largest = Math.max(0, ...this.#series.map(({ value }) => extent(this.#samples, value)?.high ?? 0));
    const { end, ticks } = scale(largest, this.#least, height < 110 ? 2 : 4);
    const area = { left: LEFT, top: TOP, width: width - LEFT - 6, height: height - TOP - BOTTOM };
    const x = (time) => area.left + area.width * (1 - (this.#now - time) / SPAN_S);
    const y = (value) => area.top + area.height * (1 - value / end);
    this.#grid(pen, area, ticks, y);
    pen.save();
    pen.beginPath();
    pen.rect(area.left, 0, area.width, height);
    pen.clip();
    this.#series.forEach((series, index) => this.#line(pen, series, index === 0, x, y));
    pen.restore();
    this.#cursor(pen, area, x, y);
  }

  #grid(pen, area, ticks, y) {
    pen.font = this.#colors.font;
    pen.fillStyle = this.#colors.label;
    pen.strokeStyle = this.#colors.grid;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of ticks) {
      const at = Math.round(y(tick)) + 0.5;
      pen.beginPath();
      pen.moveTo(area.left, at);
      pen.lineTo(area.left + area.width, at);
      pen.stroke();
      pen.fillText(this.#text(tick), area.left - 6, at);
    }
    pen.textBaseline = "alphabetic";
    const base = area.top + area.height + 14;
    pen.textAlign = "left";
    pen.fillText("5 min ago", area.left, base);
    pen.textAlign = "right";
    pen.fillText("now", area.left + area.width, base);
  }

  #line(pen, { value, color }, isFilled, x, y) {
    pen.strokeStyle = this.#colors.series[color];
    pen.fillStyle = this.#colors.series[color];
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    for (const piece of pieces(this.#samples, value)) {
      pen.beginPath();
      piece.forEach(([time, each], index) => (index ? pen.lineTo(x(time), y(each)) : pen.moveTo(x(time), y(each))));
      if (piece.length === 1) pen.lineTo(x(piece[0][0]) + 1, y(piece[0][1]));
      pen.stroke();
      if (!isFilled) continue;
      pen.lineTo(x(piece.at(-1)[0]), y(0));
      pen.lineTo(x(piece[0][0]), y(0));
      pen.globalAlpha = 0.12;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }

  #cursor(pen, area, x, y) {
    const at = this.#pointer === null || this.#pointer < area.left ? -1 : this.#nearestTo(area);
    this.#tip.hidden = at < 0;
    if (at < 0) return;
    const sample = this.#samples[at];
    const left = x(sample.time);
    pen.strokeStyle = this.#colors.label;
    pen.beginPath();
    pen.moveTo(left, area.top);
    pen.lineTo(left, area.top + area.height);
    pen.stroke();
    const lines = [clockTime(sample.time)];
    for (const { name, value, color } of this.#series) {
      const each = value(sample);
      lines.push(`${this.#series.length > 1 ? `${name} ` : ""}${this.#text(each)}`);
      if (typeof each !== "number") continue;
      pen.fillStyle = this.#colors.series[color];
      pen.beginPath();
      pen.arc(left, y(each), 3, 0, 2 * Math.PI);
      pen.fill();
    }
    setText(this.#tip, lines.join("\n"));
    const onLeft = left > area.left + area.width / 2;
    this.#tip.style.left = onLeft ? "" : `${left + 10}px`;
    this.#tip.style.right = onLeft ? `${area.left + area.width - left + 16}px` : "";
  }

  #nearestTo(area) {
    const time = this.#now - SPAN_S * (1 - (this.#pointer - area.left) / area.width);
    const at = nearest(this.#samples, time);
    return at >= 0 && Math.abs(this.#samples[at].time - time) <= GAP_S ? at : -1;
  }
}

function colorsOf(element) {
  const style = getComputedStyle(element);
  const variable = (name) => style.getPropertyValue(name).trim();
  return {
    grid: variable("--grid"),
    label: variable("--muted"),
    font: `11px ${style.fontFamily}`,
    series: [1, 2, 3, 4].reduce((all, number) => ({ ...all, [number]: variable(`--series-${number}`) }), {}),
  };
}
