// Numbers and times as people read them.

export const number = (n, digits = 0) =>
  n === null || n === undefined ? "–" : n.toLocaleString("en", { maximumFractionDigits: digits });

export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 3600) return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")}`;
}

export const moment = (seconds) =>
  `${Math.floor(seconds / 60)}:${(Math.max(0, seconds) % 60).toFixed(1).padStart(4, "0")}`;

export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text; // never as HTML: it may come from a caller
  if (className) made.className = className;
  return made;
}

export const color = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Makes a canvas as sharp as the screen, and gives what draws on it in CSS pixels.
export function drawing(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export const PROBLEMS = {
  errors: "a processor failed",
  one_way: "no audio from the caller",
  loss: "audio is lost",
  late: "audio comes too late",
  refused: "messages are refused",
  stalled: "audio was held back",
  slow_reader: "the far end reads too slowly",
  dropped: "live audio is dropped",
  own_echo: "the bot hears itself",
  slow_handler: "the bot is too slow",
  plays_failed: "a play failed",
  processor_failed: "a processor failed",
  blocked: "held up by another call",
  blocks: "holds up other calls",
  mute_bot: "the bot says nothing",
  telnyx_errors: "Telnyx refused something",
  no_marks: "no mark comes back",
  early_marks: "marks come back too early",
  media_silent: "no media comes",
  silent: "the caller is silent",
  echo: "the bot may hear itself",
  live_dropped: "live audio is dropped",
  live_unsent: "live audio is dropped",
};
export const problem = (name) => PROBLEMS[name] || name.replaceAll("_", " ");
