// One recording of an ended call. It is fetched as a whole, because a browser sends no token for
// the address of an <audio>.

import { ask, callPath, problemOf } from "./feed.js";
import { color, drawing, element } from "./format.js";

const DRAWN_RATE_HZ = 8000, LONGEST_DRAWN_S = 3600, COLUMNS = 1200;
const SIDES = [["left: caller", "caller"], ["right: bot", "bot"]];

export class Player {
  constructor({ call_id, started_at, duration_s }, place, n) {
    this.path = `${callPath(call_id, `recordings/${n}`)}?started_at=${started_at ?? 0}`;
    this.isShort = (duration_s ?? 0) <= LONGEST_DRAWN_S;
    this.name = place.slice(place.lastIndexOf("/") + 1);
    this.stop = new AbortController();
    this.box = element("div", undefined, "player");
    this.line = element("p", `${this.name}: it is fetched`);
    this.line.setAttribute("role", "status");
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Waveform of ${this.name}`);
    this.audio = element("audio");
    this.audio.controls = true;
    this.audio.setAttribute("aria-label", this.name);
    this.canvas.hidden = this.audio.hidden = true;
    this.box.append(this.line, this.canvas, this.audio);
    this.canvas.addEventListener("click", (event) => this.seek(event));
    this.audio.addEventListener("timeupdate", () => this.draw());
    this.audio.addEventListener("error", () => this.url && this.say("this browser cannot play it", true));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.canvas);
    this.load().catch((error) => this.stop.signal.aborted || this.say(error.message, true));
  }

  close() {
    this.stop.abort();
    this.resized.disconnect();
    this.audio.pause();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
  }

  say(text, isBad = false) {
    this.line.textContent = text ? `${this.name}: ${text}` : this.name;
    this.line.classList.toggle("bad", isBad);
  }

  async load() {
    const answer = await ask(this.path, { signal: this.stop.signal });
    if (!answer.ok) throw new Error(await problemOf(answer));
    const blob = await answer.blob();
    if (this.stop.signal.aborted) return;
    this.url = URL.createObjectURL(blob);
    this.audio.src = this.url;
    this.audio.hidden = false;
    this.say("");
    if (!this.isShort) return this.say("too long for a waveform");
    try {
      // At a low rate: a picture needs no more, and an hour fits into memory.
      const context = new OfflineAudioContext(2, 1, DRAWN_RATE_HZ);
      this.measure(await context.decodeAudioData(await blob.arrayBuffer()));
    } catch {
      return this.say("this browser cannot draw its waveform");
    }
    this.canvas.hidden = false;
    this.draw();
  }

  // The lowest and the highest sample of each column.
  measure(audio) {
    this.seconds = audio.duration;
    this.sides = Array.from({ length: Math.min(2, audio.numberOfChannels) }, (_, side) => {
      const samples = audio.getChannelData(side), pairs = new Float32Array(2 * COLUMNS);
      for (let i = 0; i < samples.length; i++) {
        const at = 2 * Math.floor((i * COLUMNS) / samples.length);
        if (samples[i] < pairs[at]) pairs[at] = samples[i];
        if (samples[i] > pairs[at + 1]) pairs[at + 1] = samples[i];
      }
      return pairs;
    });
  }

  draw() {
    const { canvas, sides } = this, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !sides) return;
    const context = drawing(canvas, width, height), lane = height / sides.length, step = width / COLUMNS;
    context.font = "11px system-ui";
    sides.forEach((pairs, side) => {
      const middle = (side + 0.5) * lane;
      context.fillStyle = color(SIDES[side][1]);
      for (let i = 0; i < COLUMNS; i++) {
        const high = middle - 0.48 * lane * pairs[2 * i + 1], low = middle - 0.48 * lane * pairs[2 * i];
        context.fillRect(i * step, high, step + 0.3, Math.max(1, low - high));
      }
      context.fillStyle = color("soft");
      if (sides.length > 1) context.fillText(SIDES[side][0], 4, side * lane + 12);
    });
    context.fillStyle = color("text");
    context.fillRect((this.audio.currentTime / this.seconds) * width, 0, 1.5, height);
  }

  seek(event) {
    this.audio.currentTime = (event.offsetX / this.canvas.clientWidth) * this.seconds;
  }
}
