// The page: who looks, and at what.

import { LEVELS_PART, ask, follow, json, token } from "./feed.js";
import { CallView } from "./call.js";
import { Ended } from "./ended.js";
import { LATE_MS, Overview } from "./overview.js";
import { Table } from "./table.js";

const find = (id) => document.getElementById(id);
const overview = new Overview();
const table = new Table((id) => (location.hash = `#/call/${encodeURIComponent(id)}`));
const call = new CallView(() => (location.hash = "#/"));
const ended = new Ended();
let stop = null;

function status(text, isBad = false) {
  find("status").textContent = text;
  find("status").classList.toggle("bad", isBad);
}

function told(kind, bytes) {
  if (kind === LEVELS_PART) return table.levelsTold(bytes);
  const content = json(bytes);
  if (content.type === "table") return table.told(content.rows);
  overview.told(content);
  if (content.status !== "ready") status(`Takes no new calls: ${content.status}`, true);
  else if (content.lag_ms > LATE_MS) status("Takes calls, but is late: audio may stutter", true);
  else status("Ready for calls");
}

function askForToken(problem) {
  stop?.();
  stop = null;
  call.close();
  ended.close();
  find("main").hidden = true;
  find("login").hidden = false;
  find("login-error").textContent = problem;
  status("Not connected");
  find("token").focus();
}

async function begin() {
  let answer;
  try {
    const needs = await (await ask("needs")).json();
    if (needs.token && !token.get()) return askForToken("");
    answer = await ask("rights");
  } catch {
    return askForToken("The server does not answer.");
  }
  if (answer.status === 401) return askForToken(token.get() ? "This is not the token." : "");
  if (!answer.ok) return askForToken(`The server answers ${answer.status}.`);
  const rights = await answer.json();
  call.mayListen = ended.mayListen = rights.listen;
  // The phone's page is on loopback: from another machine it is not reached.
  find("to-phone").hidden = !rights.phone || !/^(localhost|127\.0\.0\.1|\[::1\])$/.test(location.hostname);
  find("to-phone").href = rights.phone || "";
  find("login").hidden = true;
  find("main").hidden = false;
  find("sign-out").hidden = false;
  find("sign-out").title = rights.listen ? "This token may listen in" : "This token may not listen in";
  stop?.();
  stop = follow("feed", told, (state) => {
    if (state === "refused") askForToken("The token is no longer right.");
    else if (state !== "open") status("The connection is lost; it is tried again", true);
  });
  route();
}

function route() {
  if (find("main").hidden) return;
  const isEnded = location.hash === "#/ended";
  const id = location.hash.startsWith("#/call/") ? decodeURIComponent(location.hash.slice(7)) : null;
  find("live").hidden = find("overview").hidden = isEnded;
  find("ended").hidden = !isEnded;
  find("main").classList.toggle("with-call", Boolean(id));
  find("to-live").toggleAttribute("aria-current", !isEnded);
  find("to-ended").toggleAttribute("aria-current", isEnded);
  if (id) call.open(id);
  else call.close();
  table.chosen = id ?? table.chosen;
  ended.close();
  if (isEnded) ended.look();
  else table.draw();
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(find("token").value);
  find("token").value = "";
  begin();
});
find("sign-out").addEventListener("click", () => {
  token.set("");
  askForToken("");
});
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  const isTyping = /INPUT|SELECT|TEXTAREA/.test(document.activeElement?.tagName || "");
  if (event.key === "Escape" && location.hash.startsWith("#/call/")) {
    location.hash = "#/";
    find("table").focus();
  } else if (event.key === "/" && !isTyping) {
    event.preventDefault();
    find("search").focus();
  }
});
begin();
