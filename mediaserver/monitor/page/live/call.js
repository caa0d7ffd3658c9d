// One call: what is heard, what happens, what may be done.

import { callPath, follow, json, post, problemOf } from "./feed.js";
import { age, element, moment, number, problem, short, stateText } from "./format.js";
import { listen } from "./listen.js";
import { Wave } from "./wave.js";

const MOST_EVENTS = 200;
const TITLES = {
  processors: "processors", route: "route", frames_in: "frames in", frames_out: "frames out",
  lost: "lost chunks", late: "late chunks", duplicate: "duplicate chunks", concealed: "frames made up",
  refused: "refused messages", reorder_wait_s: "a gap waits, s", stalled_s: "longest stall, s",
  blocked_s: "far end too slow, s", peak_dbfs: "peak, dBFS", level_dbfs: "level, dBFS",
  queued_s: "queued, s", lead_s: "sent ahead, s", underruns: "underruns", marks_awaited: "marks awaited",
  dropped_s: "live audio dropped, s", queued_frames: "frames waiting for the bot",
  dropped_frames: "frames the bot missed", queued_events: "events waiting", dropped_events: "events missed",
  processor_errors: "processor failures", budget_overruns: "filters too slow", spoken_s: "caller spoke, s",
  takeovers: "sockets taken over", echo_delay_s: "echo after, s", held_up_s: "held up, s",
  holds_up_s: "holds up others, s", held_up_by: "held up by", plays: "plays", marks: "marks",
  errors: "errors from Telnyx", commands: "commands", send_mode: "mode", stream_id: "stream",
};
const ALWAYS = ["processors", "frames_in", "frames_out", "lost", "late", "level_dbfs", "queued_s", "lead_s"];

const find = (id) => document.getElementById(id);

export class CallView {
  constructor(onClose) {
    this.onClose = onClose;
    this.id = null;
    this.mayListen = false;
    this.wave = null;
    find("call-close").addEventListener("click", () => this.onClose());
    find("listen").addEventListener("click", () => this.toggleListen());
    find("mute").addEventListener("click", () => this.toggleMute());
    find("hangup").addEventListener("click", () => this.hangUp());
    find("say").addEventListener("submit", (event) => {
      event.preventDefault();
      this.say();
    });
  }

  open(id) {
    if (this.id === id) return;
    this.close();
    this.id = id;
    find("call").hidden = false;
    find("call-title").textContent = id;
    find("call-facts").textContent = "";
    for (const name of ["call-trouble", "events", "figures"]) find(name).replaceChildren();
    this.said("");
    find("heard").textContent = "";
    this.wave = new Wave(find("wave"));
    this.enable(true);
    this.stop = follow(callPath(id, "feed"), (_, bytes) => this.told(json(bytes)), (state) => this.state(state));
  }

  close() {
    this.stop?.();
    this.endListen();
    this.id = null;
    find("call").hidden = true;
  }

  enable(isLive) {
    for (const name of ["listen", "mute", "say-text"]) find(name).disabled = !isLive || !this.mayListen;
    find("say").querySelector("button").disabled = !isLive || !this.mayListen;
    find("hangup").disabled = !isLive;
    for (const name of ["listen", "mute"])
      find(name).title = this.mayListen ? "" : "This needs the listen token of the server";
  }

  state(state) {
    if (state === "missing") this.over("This call is not live. It may be among the ended ones.");
    else if (state === "broken") this.said("The connection is lost; it is tried again.", true);
    else if (state === "open") this.said("");
  }

  over(text) {
    this.stop?.();
    this.said(text);
    this.endListen();
    this.enable(false);
  }

  told(told) {
    if (told.type === "gone") {
      find("call-facts").textContent = find("call-facts").textContent.replace(/^.*?(?=, \d+:)/, "ended");
      return this.over("The call is over.");
    }
    const { look } = told;
    this.wave.told(look);
    this.isMuted = look.is_muted;
    find("mute").setAttribute("aria-pressed", String(Boolean(look.is_muted)));
    find("mute").textContent = look.is_muted ? "Let the bot be heard" : "Mute the bot";
    for (const event of look.events) this.happened(event);
    if (look.summary) this.figures(look.summary, look.trouble, look.state);
  }

  happened([at, kind, text]) {
    const isBad = /^(error|log (warning|error|critical)|hint|interrupted|restarted)/.test(kind);
    const line = element("li", undefined, isBad ? "bad" : "");
    line.append(element("time", moment(at)), element("b", kind), element("span", text));
    find("events").prepend(line);
    while (find("events").children.length > MOST_EVENTS) find("events").lastChild.remove();
  }

  figures(summary, trouble, state) {
    const { caller, callee, codec, rate_hz, send_codec, send_rate_hz, duration_s } = summary;
    find("call-title").textContent = `${caller || "unknown"} → ${callee || "unknown"}`;
    find("call-facts").textContent =
      `${stateText(state, this.isMuted)}, ${age(duration_s)}, ${codec} ${rate_hz} Hz in, ${send_codec} ${send_rate_hz} Hz out, ${summary.call_id}`;
    const lines = [...(state === "reconnecting" ? [problem(state)] : []), ...Object.values(trouble), ...Object.values(summary.hints || {})];
    put(find("call-trouble"), lines.map((line) => element("li", line)));
    put(find("figures"), figureRows(summary));
  }

  // Taking part.

  said(text, isBad = false) {
    find("done").textContent = text;
    find("done").classList.toggle("bad", isBad);
  }

  async act(path, done, content) {
    try {
      const answer = await post(path, content);
      this.said(answer.ok ? done : `Not done: ${await problemOf(answer)}`, !answer.ok);
      return answer.ok;
    } catch (error) {
      this.said(`Not done: ${error.message}`, true);
      return false;
    }
  }

  toggleListen() {
    if (this.endOfListening) {
      this.endListen();
      return this.said("You no longer listen.");
    }
    this.said("");
    find("listen").setAttribute("aria-pressed", "true");
    find("listen").textContent = "Stop listening";
    this.endOfListening = listen(this.id, (text) => {
      if (this.endOfListening && find("heard").textContent !== text) find("heard").textContent = text;
    });
  }

  endListen() {
    this.endOfListening?.();
    this.endOfListening = null;
    find("listen").setAttribute("aria-pressed", "false");
    find("listen").textContent = "Listen";
    find("heard").textContent = "";
  }

  toggleMute() {
    const what = this.isMuted ? "unmute" : "mute";
    return this.act(callPath(this.id, what), this.isMuted ? "The bot is heard again." : "The bot is muted.");
  }

  async hangUp() {
    const title = find("call-title").textContent;
    if (!confirm(`End this phone call?\n${title}, ${this.id}`)) return;
    await this.act(`../calls/${encodeURIComponent(this.id)}/hangup`, "The call is hung up.");
  }

  async say() {
    const text = find("say-text").value.trim();
    if (text && (await this.act(callPath(this.id, "say"), "The bot was told.", { text }))) find("say-text").value = "";
  }
}

// What a call's summary says, a row each.
export function figureRows(summary) {
  return Object.entries(TITLES)
    .filter(([name]) => ALWAYS.includes(name) || !isNothing(summary[name]))
    .map(([name, title]) => {
      const row = element("div");
      row.append(element("dt", title), element("dd", shown(summary[name], name)));
      return row;
    });
}

const isNothing = (value) =>
  value === undefined || value === null || value === 0 || value === "" || value === false ||
  (typeof value === "object" && !Object.keys(value).length);

function shown(value, name) {
  if (name.endsWith("_dbfs") && (value === null || value === undefined)) return "silent";
  if (Array.isArray(value)) return value.map(short).join(" + ") || "none";
  if (value && typeof value === "object") return Object.entries(value).map(([k, n]) => `${k} ${n}`).join(", ");
  return typeof value === "number" || value === null || value === undefined ? number(value ?? 0, 2) : String(value);
}

// Puts these in place of what is there, if they say something else.
function put(box, made) {
  if (box.textContent !== made.map((each) => each.textContent).join("")) box.replaceChildren(...made);
}
