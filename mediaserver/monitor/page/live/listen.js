// Listening in to one call.

import { AUDIO_PART, callPath, follow } from "./feed.js";

const ULAW = Float32Array.from({ length: 256 }, (_, octet) => {
  const code = ~octet & 255, size = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132;
  return (code & 128 ? -size : size) / 32768;
});
const ALAW = Float32Array.from({ length: 256 }, (_, octet) => {
  const code = octet ^ 85, segment = (code >> 4) & 7, step = ((code & 15) << 4) + 8;
  const size = segment ? (step + 256) << (segment - 1) : step;
  return (code & 128 ? size : -size) / 32768;
});

// Cuts one part into chunks, and gives them to the worklet.
function unpack(bytes, port) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const table = view.getUint8(8) ? ALAW : ULAW;
  port.postMessage({ now: view.getFloat64(0) });
  for (let at = 9; at < bytes.byteLength; ) {
    const side = view.getUint8(at), when = view.getFloat64(at + 1);
    const rate = view.getUint32(at + 9), n = view.getUint32(at + 13);
    const audio = new Float32Array(n);
    for (let i = 0; i < n; i++) audio[i] = table[bytes[at + 17 + i]];
    port.postMessage({ side, at: when, rate, audio }, [audio.buffer]);
    at += 17 + n;
  }
}

// Begins at once; call what is returned to end it. `onHeard(text)` says how it goes.
export function listen(callId, onHeard) {
  const context = new AudioContext({ latencyHint: "interactive" });
  let stop = () => {}, over = false;
  const end = () => {
    over = true;
    stop();
    if (context.state !== "closed") context.close();
  };
  (async () => {
    await context.audioWorklet.addModule(new URL("listen-worklet.js", import.meta.url));
    if (over) return;
    const node = new AudioWorkletNode(context, "listen", { numberOfInputs: 0, outputChannelCount: [2] });
    node.port.onmessage = ({ data }) => onHeard(`${data.behind_s.toFixed(2)} s behind: caller left, bot right; nobody hears you`);
    node.connect(context.destination);
    await context.resume();
    stop = follow(
      callPath(callId, "listen"),
      (kind, bytes) => (kind === AUDIO_PART ? unpack(bytes, node.port) : onHeard("The call is over.")),
      (state) => state !== "open" && onHeard({ broken: "The connection is lost.", refused: "This needs the listen token.", missing: "No such call is live." }[state]),
      true,
    );
  })().catch((error) => onHeard(`This browser cannot play it: ${error.message}`));
  return end;
}
