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
  reconnecting: "the connection was cut, a new one is awaited",
  errors: "a processor failed",
  one_way: "audio in one direction only",
  loss: "audio lost on the way here",
  late: "audio arrives too late",
  refused: "messages are refused",
  stalled: "audio stopped for a while",
  slow_reader: "the far end reads too slowly",
  dropped: "the bot's late audio is left out",
  own_echo: "the bot hears itself",
  slow_handler: "the bot is too slow",
  plays_failed: "a play failed",
  processor_failed: "a processor failed",
  blocked: "delayed by another call",
  blocks: "delays other calls",
  mute_bot: "the bot says nothing",
  telnyx_errors: "Telnyx refused something",
  no_marks: "no mark comes back",
  early_marks: "marks come back too early",
  media_silent: "no media comes",
  silent: "silence from the caller",
  echo: "the bot may hear itself",
  live_dropped: "the bot's late audio is left out",
  live_unsent: "the bot's late audio is left out",
};
const STATES = { listening: "bot listens", speaking: "bot speaks" };
export const stateText = (state, isMuted) => (isMuted ? "bot muted, " : "") + (STATES[state] || state);
// A processor from a file is named by the whole path of that.
export const short = (name) => name.slice(name.lastIndexOf("/") + 1);
// What a busy machine, or another call, does to many calls at once.
const EFFECTS = new Set(["blocked", "dropped", "live_dropped", "live_unsent"]);
export const isGrave = (name) => !EFFECTS.has(name);
export const problem = (name) => PROBLEMS[name] || name.replaceAll("_", " ");
