// Calls that have ended, from the server's history; those with a problem first.

import { figureRows } from "./call.js";
import { ask } from "./feed.js";
import { age, element, short } from "./format.js";
import { Player } from "./player.js";

// Why a call's media ended, for who did not write the server; others are said as they are.
const REASONS = {
  stop: "ended normally", lost: "the connection was cut", processor: "a processor failed",
  hangup: "hung up by the bot", max_call_s: "it lasted too long", idle_s: "nobody spoke",
};
const reasonText = (reason) => REASONS[reason] || reason.replaceAll("_", " ");

const find = (id) => document.getElementById(id);

export class Ended {
  constructor() {
    this.mayListen = false;
    this.players = new Map(); // by the row of the call
    this.calls = [];
    find("ended-bad").addEventListener("input", () => this.look());
    find("ended-search").addEventListener("input", () => this.show());
    find("ended-again").addEventListener("click", () => this.look());
  }

  async look() {
    const bad = find("ended-bad").checked ? "&bad=yes" : "";
    find("ended-count").textContent = "…";
    try {
      const answer = await ask(`../calls?live=no&limit=500${bad}`);
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error || answer.status);
      this.calls = told.calls;
      this.show();
    } catch (error) {
      find("ended-count").textContent = `The history cannot be read: ${error.message}`;
    }
  }

  // Ends what plays.
  close() {
    for (const { players } of this.players.values()) players.forEach((player) => player.close());
    this.players.clear();
  }

  show() {
    this.close();
    const words = find("ended-search").value.trim().toLowerCase().split(/\s+/);
    const calls = this.calls.filter((call) => words.every((word) => textOf(call).includes(word)));
    const isBad = (call) => Object.keys(call.bad || {}).length > 0;
    const sorted = [...calls.filter(isBad), ...calls.filter((call) => !isBad(call))];
    find("ended-count").textContent = calls.length
      ? `${calls.length} calls, ${calls.filter(isBad).length} with a problem`
      : this.calls.length ? `0 of ${this.calls.length} calls` : "No ended calls. They are kept where the setting history names a file.";
    find("ended-rows").replaceChildren(...sorted.map((call) => this.row(call, isBad(call))));
  }

  row({ summary, ended_at, bad, hang_up }, isBad) {
    const row = element("tr", undefined, isBad ? "bad" : "");
    const codecs = summary.codec === summary.send_codec ? summary.codec : `${summary.codec} → ${summary.send_codec}`;
    const who = element("td", `${summary.caller || "unknown"} → ${summary.callee || "unknown"}`);
    who.append(element("br"), element("small", summary.call_id), element("br"), this.details(row, summary));
    row.append(
      element("td", new Date(1000 * ended_at).toLocaleString("en-GB")), who,
      element("td", why(summary, hang_up)),
      element("td", Object.values(bad || {}).join("; ")),
      element("td", age(summary.duration_s)),
      element("td", codecs || ""), element("td", (summary.processors || []).map(short).join(" + ")),
      this.recordings(row, summary),
    );
    return row;
  }

  // The button that shows all figures of a call below its row.
  details(row, summary) {
    const button = element("button", "Details", "details");
    let line = null;
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      if (line) line.remove();
      line = line ? null : element("tr");
      button.setAttribute("aria-expanded", String(Boolean(line)));
      if (!line) return;
      const cell = element("td"), list = element("dl", undefined, "figures");
      cell.colSpan = row.cells.length;
      list.append(...figureRows(summary));
      cell.append(list);
      line.append(cell);
      row.after(line);
    });
    return button;
  }

  recordings(row, summary) {
    const cell = element("td");
    if (!summary.recordings?.length) return cell;
    const button = element("button", "Listen", "listen");
    button.type = "button";
    button.disabled = !this.mayListen;
    button.title = this.mayListen ? "" : "This needs the listen token of the server";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const isOpen = this.toggle(row, summary);
      button.textContent = isOpen ? "Close" : "Listen";
      button.setAttribute("aria-expanded", String(isOpen));
    });
    cell.append(button);
    return cell;
  }

  // Opens the players below a call's row, or closes them; whether they are open now.
  toggle(row, summary) {
    const open = this.players.get(row);
    if (open) {
      open.players.forEach((player) => player.close());
      open.line.remove();
      this.players.delete(row);
      return false;
    }
    const line = element("tr"), cell = element("td");
    const players = summary.recordings.map((place, n) => new Player(summary, place, n + 1));
    cell.colSpan = row.cells.length;
    cell.append(...players.map((player) => player.box));
    line.append(cell);
    row.after(line);
    this.players.set(row, { line, players });
    return true;
  }
}

function why({ reason }, hangUp) {
  return reasonText(reason) + (hangUp?.cause ? `, ${hangUp.cause.replaceAll("_", " ")}` : "");
}

const textOf = ({ summary, bad, hang_up }) =>
  [
    summary.call_id, summary.caller, summary.callee, summary.reason, why(summary, hang_up), summary.codec,
    ...(summary.processors || []), ...Object.values(bad || {}),
  ].join(" ").toLowerCase();
