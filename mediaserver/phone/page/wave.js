// The last ten seconds: loudness of both sides, marks and clears. Drawn when something comes.

const SECONDS = 10;
const PER_S = 50;

export class Wave {
  constructor(canvas) {
    this.canvas = canvas;
    this.reset();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  reset() {
    this.heard = []; // peaks, one for each block; so are the others
    this.said = [];
    this.signs = []; // [seconds since the call began, kind]
    this.n = 0;
    this.peak = 0;
    this.draw();
  }

  say(block) {
    this.peak = Math.max(this.peak, peakOf(block));
  }

  hear(block) {
    this.heard.push(peakOf(block));
    this.said.push(this.peak);
    this.peak = 0;
    this.n += 1;
    if (this.heard.length > SECONDS * PER_S) {
      this.heard.shift();
      this.said.shift();
    }
    this.draw();
  }

  sign(kind, atS) {
    this.signs.push([atS, kind]);
    this.signs = this.signs.slice(-200);
  }

  draw() {
    const scale = devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * scale);
    const height = Math.round(this.canvas.clientHeight * scale);
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const pen = this.canvas.getContext("2d");
    const colours = getComputedStyle(document.documentElement);
    const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
    const step = width / (SECONDS * PER_S);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = colour("line");
    pen.fillRect(0, height / 4, width, scale);
    pen.fillRect(0, (3 * height) / 4, width, scale);
    for (const [name, middle] of [["said", height / 4], ["heard", (3 * height) / 4]]) {
      pen.fillStyle = colour(name);
      const peaks = this[name];
      peaks.forEach((peak, k) => {
        const half = loudness(peak) * (height / 4 - 2 * scale);
        const x = width - (peaks.length - k) * step;
        if (half > 0) pen.fillRect(x, middle - half, Math.max(step, 1), 2 * half);
      });
    }
    for (const [at, kind] of this.signs) {
      const x = width - (this.n - at * PER_S) * step;
      if (x < 0) continue;
      pen.fillStyle = colour(kind);
      pen.fillRect(x, height / 2, 2 * scale, height / 2);
    }
  }
}

export function peakOf(block) {
  let peak = 0;
  for (const sample of block) peak = Math.max(peak, Math.abs(sample));
  return peak;
}

// From 0 at -50 dBFS to 1 at full scale.
function loudness(peak) {
  if (peak < 1) return 0;
  return Math.max(0, 1 + (20 * Math.log10(peak / 32768)) / 50);
}
