// The page of the phone: audio, keys and sliders here, the call itself at the page's server.

import { Wave } from "./wave.js";

const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];
const NO_MICROPHONE = {
  NotAllowedError: "The browser does not let this page use the microphone.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "Another program has the microphone.",
};
const WORDS = {
  heard: ["heard", (e) => `${e.for_s.toFixed(2)} s`],
  mark: ["mark reached", (e) => e.text],
  cleared: ["mark not reached", (e) => e.text],
  clear: ["clear", (e) => `${e.for_s.toFixed(2)} s not heard`],
  key: ["key", (e) => e.text],
  error: ["error", (e) => e.text],
};
const MAX_ROWS = 200;
const MOUTH_S = 0.02; // a block of the microphone

const by = (id) => document.getElementById(id);
const wave = new Wave(by("wave"));

let socket = null;
let rates = [];
let audio = null; // {context, ear, stream, microphone}
let number = 0; // of the call; what is told of an earlier one is late
let isUp = false;
let isMuted = false;
let playedS = 0; // of the page's own delay, as the ear last said

// The page's server.

function connect() {
  const token = location.hash.slice(1);
  const at = new URL("call", location.href);
  at.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  at.hash = "";
  at.search = token ? `?token=${encodeURIComponent(token)}` : "";
  socket = new WebSocket(at);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) =>
    typeof data === "string" ? told(JSON.parse(data)) : hear(new Int16Array(data));
  socket.onclose = ({ code, reason }) => {
    over();
    by("place").disabled = true;
    if (code === 1013 || code === 1008) say(`The page's server refuses: ${reason}.`);
    else {
      say("The page's server is not there. This page tries again …");
      setTimeout(connect, 1000);
    }
  };
}

function wish(what) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
}

function told(message) {
  if (message.number !== undefined && message.number !== number) return;
  switch (message.event) {
    case "ready":
      ready(message);
      break;
    case "call":
      say(`Connected: ${message.codec} at ${message.rate_hz / 1000} kHz, both ways.`);
      setLive(true);
      break;
    case "ended":
      over();
      say(`The call is over: ${message.why}.`);
      break;
    case "refused":
      say(`Refused: ${message.why}.`);
      break;
    case "ledger":
      message.entries.forEach(enter);
      break;
    case "figures":
      figure(message);
      break;
  }
}

function ready(message) {
  over(); // a call that this page had elsewhere
  rates = message.page_rates_hz;
  by("url").textContent = message.url;
  const chosen = by("codec").value;
  by("codec").replaceChildren(
    ...message.formats.map(([codec, hz]) => new Option(`${codec}, ${hz / 1000} kHz`, `${codec} ${hz}`)),
  );
  if (chosen) by("codec").value = chosen;
  by("place").disabled = false;
  say("Press Call, and speak.");
}

// The call.

async function call() {
  setUp(true);
  say("Calling …");
  try {
    await openAudio();
  } catch (error) {
    setUp(false);
    say(`The browser gives no sound: ${error.message}.`);
    return;
  }
  if (audio) place(); // else the user, or the server, ended it meanwhile
}

function place() {
  const [codec, rate] = by("codec").value.split(" ");
  clearCall();
  number += 1;
  wish({
    do: "call",
    number,
    codec,
    rate_hz: Number(rate),
    page_rate_hz: audio.context.sampleRate,
    source: by("source").value,
    loss: by("loss").value / 100,
    jitter_ms: Number(by("jitter").value),
  });
}

function clearCall() {
  wave.reset();
  audio.ear.port.postMessage(null);
  by("entries").replaceChildren();
  for (const dd of document.querySelectorAll("dd")) dd.textContent = "–";
}

function over() {
  setUp(false);
  number += 1;
  if (!audio) return;
  audio.stream?.getTracks().forEach((track) => track.stop());
  audio.context.close();
  audio = null;
}

function setUp(up) {
  isUp = up;
  by("place").textContent = up ? "Hang up" : "Call";
  by("place").classList.toggle("up", up);
  setLive(false);
}

function setLive(live) {
  by("mute").disabled = !live;
  for (const key of by("keys").children) key.disabled = !live;
}

// Sound.

async function openAudio() {
  let context = new AudioContext({ latencyHint: "interactive" });
  if (!rates.includes(context.sampleRate)) {
    await context.close();
    context = new AudioContext({ latencyHint: "interactive", sampleRate: 48000 });
  }
  await context.audioWorklet.addModule(new URL("audio.js", import.meta.url));
  const ear = new AudioWorkletNode(context, "ear", { numberOfInputs: 0, outputChannelCount: [1] });
  ear.port.onmessage = ({ data }) => (playedS = data);
  ear.connect(context.destination);
  audio = { context, ear, stream: null, microphone: null };
  await context.resume();
  if (by("source").value === "microphone") await openMicrophone();
}

async function openMicrophone() {
  by("microphone").hidden = true;
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        echoCancellation: by("cancel").checked,
        noiseSuppression: false,
        autoGainControl: false,
        channelCount: 1,
      },
    });
    if (!audio) return stream.getTracks().forEach((track) => track.stop());
    audio.stream = stream;
    audio.microphone?.disconnect();
    audio.microphone = audio.context.createMediaStreamSource(stream);
    const mouth = new AudioWorkletNode(audio.context, "mouth", { numberOfOutputs: 0 });
    mouth.port.onmessage = ({ data }) => speak(data);
    audio.microphone.connect(mouth);
  } catch (error) {
    const why = NO_MICROPHONE[error.name] ?? `No microphone: ${error.message}.`;
    by("microphone").textContent = `${why} A clip of speech plays instead.`;
    by("microphone").hidden = false;
    by("source").value = "clip";
  }
}

function speak(block) {
  if (by("source").value !== "microphone" || socket?.readyState !== WebSocket.OPEN) return;
  if (isMuted) block.fill(0);
  // What the network does not take is not kept.
  if (socket.bufferedAmount < 32000) socket.send(block);
  wave.say(block);
}

function hear(block) {
  if (!audio) return;
  wave.hear(block);
  audio.ear.port.postMessage(block, [block.buffer]);
}

// What is shown.

function say(text) {
  if (by("status").textContent !== text) by("status").textContent = text;
}

function show(id, text) {
  if (by(id).textContent !== text) by(id).textContent = text;
}

function figure(f) {
  const s = (seconds) => `${seconds.toFixed(1)} s`;
  show("f-heard", s(f.heard_s));
  show("f-queued", s(f.queued_s));
  show("f-unheard", `${f.unheard_s.toFixed(2)} s`);
  show("f-marks", String(f.marks));
  show("f-clears", String(f.clears));
  show("f-sent", String(f.sent));
  show("f-lost", String(f.lost + f.held));
  show("f-errors", String(f.errors));
  show("f-line", f.echo_s === null ? "–" : `${Math.round(1000 * f.echo_s)} ms`);
  if (f.echo_s === null || !audio) return show("f-echo", "–");
  const { baseLatency = 0, outputLatency = 0 } = audio.context;
  const mouthS = f.clip ? 0 : MOUTH_S + f.waiting_s;
  const totalS = mouthS + f.echo_s + playedS + (outputLatency || baseLatency);
  show("f-echo", `${Math.round(1000 * totalS)} ms`);
}

function enter(entry) {
  const [word, which] = WORDS[entry.what] ?? [entry.what, (e) => e.text];
  const row = document.createElement("tr");
  for (const text of [`${entry.at_s.toFixed(2)} s`, word, which(entry)]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    row.append(cell);
  }
  by("entries").prepend(row);
  while (by("entries").children.length > MAX_ROWS) by("entries").lastChild.remove();
  if (entry.what === "clear" || entry.what === "mark") wave.sign(entry.what, entry.at_s);
}

// What is pressed and moved.

function press(key) {
  if (!isUp) return;
  wish({ do: "press", key });
}

for (const key of KEYS) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = key;
  button.disabled = true;
  if (key === "*") button.ariaLabel = "star";
  if (key === "#") button.ariaLabel = "hash";
  button.addEventListener("click", () => press(key));
  by("keys").append(button);
}

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("select, input[type=range]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (KEYS.includes(event.key)) press(event.key);
});

by("place").addEventListener("click", () => {
  if (!isUp) return call();
  wish({ do: "hang_up" });
  over();
  return say("The call is over: you hung up.");
});

by("mute").addEventListener("click", () => {
  isMuted = !isMuted;
  by("mute").ariaPressed = String(isMuted);
});

by("codec").addEventListener("change", () => {
  if (isUp && audio) place(); // a call has the codec that it began with
});

by("source").addEventListener("change", async () => {
  if (isUp && audio && by("source").value === "microphone" && !audio.stream) await openMicrophone();
  if (isUp) wish({ do: "change", source: by("source").value });
});

by("cancel").addEventListener("change", async () => {
  if (!audio?.stream) return;
  audio.stream.getTracks().forEach((track) => track.stop());
  await openMicrophone();
});

for (const [name, unit, key, factor] of [
  ["loss", "%", "loss", 0.01],
  ["jitter", "ms", "jitter_ms", 1],
]) {
  by(name).addEventListener("input", () => {
    by(`${name}-value`).textContent = `${by(name).value} ${unit}`;
    if (isUp) wish({ do: "change", [key]: by(name).value * factor });
  });
}

connect();
