// Both sides of a call on one time axis. What the bot sent is heard from the line "now" on the left.

import { color, drawing, moment } from "./format.js";

const BEHIND_S = 10, AHEAD_S = 2.5;
const CALLER = 0, BOT = 1, CLEARED = 2;

export class Wave {
  constructor(canvas) {
    this.canvas = canvas;
    this.chunks = [[], []];
    this.marks = [];
    this.speech = [];
    this.look = null;
    this.slow = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.drawnAt = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  told(look) {
    for (const [side, at, length, pairs] of look.chunks) {
      if (side === CLEARED) this.clear(at);
      else this.chunks[side].push({ at, length, pairs, cleared: false });
    }
    if (this.look) {
      const bad = look.lost - this.look.lost + look.late - this.look.late;
      if (bad > 0) this.marks.push({ at: look.now, kind: "lost" });
      if (look.marks[0] > this.look.marks[0]) this.marks.push({ at: look.now, kind: "mark" });
    }
    for (const [at, kind, text] of look.events) this.happened(at, kind, text);
    this.look = look;
    const since = look.now - BEHIND_S - 1;
    for (const side of [CALLER, BOT]) this.chunks[side] = this.chunks[side].filter((c) => c.at > since);
    this.marks = this.marks.filter((m) => m.at > since);
    this.speech = this.speech.filter((s) => (s.to ?? look.now) > since);
    if (!this.slow || look.now - this.drawnAt >= 1) this.draw();
  }

  clear(at) {
    this.marks.push({ at, kind: "clear" });
    for (const chunk of this.chunks[BOT]) {
      if (chunk.at >= at) chunk.cleared = true;
      else if (chunk.at + chunk.length > at && chunk.pairs.length > 2) this.cut(chunk, at);
    }
  }

  cut(chunk, at) {
    const n = 2 * Math.round((at - chunk.at) / 0.02);
    this.chunks[BOT].push({ at, length: chunk.at + chunk.length - at, pairs: chunk.pairs.slice(n), cleared: true });
    chunk.pairs = chunk.pairs.slice(0, n);
    chunk.length = at - chunk.at;
  }

  happened(at, kind, text) {
    if (kind === "speech starts") this.speech.push({ from: at, to: null });
    else if (kind === "speech ends") {
      const open = this.speech.find((s) => s.to === null);
      if (open) open.to = at;
      else this.speech.push({ from: at - parseFloat(text), to: at }); // it began before we looked
    } else if (kind === "dtmf") this.marks.push({ at, kind: "dtmf", text: text.length > 2 ? "key" : text });
    else if (!kind.startsWith("log")) this.marks.push({ at, kind: "event" });
  }

  draw() {
    const { canvas, look } = this;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !look) return;
    this.drawnAt = look.now;
    const context = drawing(canvas, width, height);
    const lane = (height - 18) / 2;
    const x = (at) => ((at - look.now + BEHIND_S) / (BEHIND_S + AHEAD_S)) * width;
    context.fillStyle = color("speech");
    for (const { from, to } of this.speech) context.fillRect(x(from), 0, x(to ?? look.now) - x(from), lane);
    this.queue(context, x, lane);
    for (const side of [CALLER, BOT]) for (const chunk of this.chunks[side]) this.chunk(context, x, lane, side, chunk);
    this.axis(context, x, lane, width, height);
    for (const mark of this.marks) this.mark(context, x(mark.at), lane, mark);
  }

  // What waits here, behind what was sent.
  queue(context, x, lane) {
    const { look } = this;
    const sentUntil = Math.max(look.now, look.sent_until);
    const waits = look.queued_s - (sentUntil - look.now);
    if (waits <= 0.02) return;
    context.fillStyle = color("queued");
    context.fillRect(x(sentUntil), 1.3 * lane, x(sentUntil + waits) - x(sentUntil), 0.4 * lane);
  }

  chunk(context, x, lane, side, { at, length, pairs, cleared }) {
    const middle = (side + 0.5) * lane, n = pairs.length / 2 || 1;
    const isHeard = side === CALLER || at <= this.look.now;
    context.fillStyle = color(cleared ? "cleared" : side === CALLER ? "caller" : isHeard ? "bot" : "bot-sent");
    for (let i = 0; i < n; i++) {
      const left = x(at + (i * length) / n), step = Math.max(1, x(at + length / n) - x(at) - (cleared ? 1 : 0));
      const low = middle - (pairs[2 * i] / 128) * 0.48 * lane, high = middle - (pairs[2 * i + 1] / 128) * 0.48 * lane;
      if (cleared) context.fillRect(left, high, step, 1.5), context.fillRect(left, low, step, 1.5);
      else context.fillRect(left, high, step + 0.3, Math.max(1, low - high));
    }
  }

  axis(context, x, lane, width, height) {
    const { look } = this;
    context.font = "11px system-ui";
    context.fillStyle = color("line");
    context.fillRect(0, lane, width, 1);
    context.fillRect(0, 2 * lane, width, 1);
    context.fillStyle = color("soft");
    for (let at = Math.ceil((look.now - BEHIND_S) / 2) * 2; at < look.now + AHEAD_S; at += 2)
      if (at >= 0) context.fillText(moment(at), x(at) - 14, height - 4);
    context.fillText("caller", 4, 12);
    context.fillText("bot", 4, lane + 13);
    context.fillStyle = color("text");
    context.fillRect(x(look.now), 0, 1.5, 2 * lane);
    context.fillText("now", x(look.now) + 4, 12);
  }

  mark(context, x, lane, { kind, text }) {
    context.fillStyle = color(kind === "lost" ? "bad" : kind === "clear" ? "cleared" : "soft");
    if (kind === "mark") context.fillRect(x, 2 * lane - 6, 1.5, 6);
    else if (kind === "lost") context.fillRect(x, 0, 2, lane);
    else if (kind === "clear") context.fillRect(x, lane, 2, lane);
    else context.fillRect(x, lane - 6, 2, 12);
    if (text) context.fillText(text, x + 3, lane - 4);
  }
}
