// Figures of the whole server, and how they went in the last minutes.

import uPlot from "./vendor/uplot-1.6.32.js";
import { age, color, element, number } from "./format.js";

const KEPT = 300;
const CHARTS = [
  ["Calls", ["calls"]],
  ["Frames a second, in and out", ["frames_in_s", "frames_out_s"]],
  ["Event loop late (p99), ms", ["lag_ms"]],
];

// More than two frames: audio may stutter.
export const LATE_MS = 50;

const clock = (at) => new Date(1000 * at).toLocaleTimeString("en-GB");

export class Overview {
  constructor() {
    this.tiles = document.getElementById("tiles");
    this.made = new Map();
    this.history = { at: [] };
    this.charts = [];
    this.turnedAway = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.makeCharts());
  }

  told(told) {
    const away = Object.values(told.troubled).reduce((sum, n) => sum + n, 0);
    const grew = this.turnedAway !== null && away > this.turnedAway;
    this.turnedAway = away;
    const workers = Object.entries(told.calls_of).filter(([name]) => Number(name) >= 0);
    const tiles = [
      ["calls", "Calls now", `${number(told.calls)} / ${number(told.max_calls)}`],
      ["calls_s", "New calls a second", number(told.calls_s, 1)],
      ["in", "Frames in a second", number(told.frames_in_s)],
      ["out", "Frames out a second", number(told.frames_out_s)],
      ["lag", "Event loop late (p99)", told.lag_ms === null ? "–" : `up to ${number(told.lag_ms)} ms`, told.lag_ms > LATE_MS],
      ["chain", "Time in filters (p99)", told.chain_ms === null ? "–" : `up to ${number(told.chain_ms, 2)} ms`, told.chain_ms > 5],
      ["away", "Refusals and failures since start", number(away), grew],
      ["up", "Up for", age(told.at - told.began_at)],
      ...workers.map(([name, n]) => [`w${name}`, `Worker ${name}`, `${number(n)} calls`, (told.workers[name] || "able") !== "able"]),
    ];
    for (const [key, title, text, isBad] of tiles) this.tile(key, title, text, isBad);
    this.made.get("away").title = Object.entries(told.troubled).map(([name, n]) => `${name}: ${n}`).join("\n");
    this.warnings(told.warnings);
    this.chart(told);
  }

  tile(key, title, text, isBad) {
    let tile = this.made.get(key);
    if (!tile) {
      tile = element("div", undefined, "tile");
      tile.append(element("b"), element("span", title));
      this.tiles.append(tile);
      this.made.set(key, tile);
    }
    tile.classList.toggle("bad", Boolean(isBad));
    if (tile.firstChild.textContent !== text) tile.firstChild.textContent = text;
  }

  warnings(lines) {
    const box = document.getElementById("warnings");
    const title = lines.length ? `${lines.length} ${lines.length === 1 ? "warning" : "warnings"} while this page is open, the last: ${lines[lines.length - 1][2]}` : "No warnings while this page is open";
    const last = lines.length ? lines[lines.length - 1][0] : 0;
    if (this.lastWarning === last && box.firstElementChild.textContent === title) return;
    this.lastWarning = last;
    box.firstElementChild.textContent = title;
    box.lastElementChild.replaceChildren(...lines.slice().reverse().map(([at, level, text]) =>
      element("li", `${new Date(1000 * at).toLocaleTimeString("en-GB")} ${level}: ${text}`)));
  }

  chart(told) {
    const { history } = this;
    history.at.push(told.at);
    for (const [, names] of CHARTS)
      for (const name of names) (history[name] ||= []).push(told[name]);
    for (const values of Object.values(history)) if (values.length > KEPT) values.shift();
    if (history.at.length < 3) return; // no line yet
    if (!this.charts.length) this.makeCharts();
    for (const { plot, names } of this.charts) plot.setData([history.at, ...names.map((n) => history[n])]);
  }

  makeCharts() {
    const box = document.getElementById("charts");
    box.replaceChildren();
    this.charts = CHARTS.map(([title, names]) => {
      const frame = element("div", undefined, "chart");
      frame.append(element("p", title));
      box.append(frame);
      const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
      const plot = new uPlot({
        width: 300, height: 96, legend: { show: false }, cursor: { show: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(1, 1.1 * (high || 0))] } },
        axes: [
          { ...axis, space: 80, size: 20, values: (_, times) => times.map(clock) },
          { ...axis, space: 24, size: 46 },
        ],
        series: [{}, ...names.map((_, n) => ({ stroke: color(n ? "bot" : "caller"), width: 1.5, points: { show: false } }))],
      }, [this.history.at, ...names.map((n) => this.history[n] || [])], frame);
      return { plot, names };
    });
  }
}
