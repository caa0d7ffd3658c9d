// Talks to the server. The token is kept for this tab only, and is sent in a header: a cookie
// would be sent by other sites' pages as well.

const KEY = "mediaserver-token";
export const JSON_PART = 1, LEVELS_PART = 2, AUDIO_PART = 3;

export const token = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export function ask(path, options = {}) {
  const headers = { ...options.headers };
  // As UTF-8: a header's own text is Latin-1.
  const octets = new TextEncoder().encode(token.get());
  if (octets.length) headers.Authorization = `Bearer ${String.fromCharCode(...octets)}`;
  return fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
}

export const post = (path, content) =>
  ask(path, {
    method: "POST",
    headers: content ? { "Content-Type": "application/json" } : {},
    body: content ? JSON.stringify(content) : undefined,
  });

// What an answer that is none says.
export async function problemOf(answer) {
  const text = (await answer.text()).trim();
  return (text.startsWith("{") ? JSON.parse(text).error : text) || String(answer.status);
}

// Reads the parts of one answer: calls `onPart(kind, bytes)` with each.
async function readParts(body, onPart) {
  const reader = body.getReader();
  let kept = new Uint8Array(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const read = new Uint8Array(kept.length + value.length);
    read.set(kept);
    read.set(value, kept.length);
    let at = 0;
    while (read.length - at >= 5) {
      const length = new DataView(read.buffer, at).getUint32(0);
      if (read.length - at < 5 + length) break;
      onPart(read[at + 4], read.subarray(at + 5, at + 5 + length));
      at += 5 + length;
    }
    kept = read.slice(at);
  }
}

export const json = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

// A feed that is begun again when it breaks. `onState("open" | "broken" | "refused" | "missing")`.
// With `once`, it is not begun again.
export function follow(path, onPart, onState, once = false) {
  const stop = new AbortController();
  (async () => {
    for (let wait = 500; !stop.signal.aborted; wait = Math.min(2 * wait, 5000)) {
      try {
        const answer = await ask(path, { signal: stop.signal });
        if (answer.status === 401 || answer.status === 403) return onState("refused");
        if (answer.status === 404) return onState("missing");
        if (answer.ok) {
          onState("open");
          wait = 500;
          await readParts(answer.body, onPart);
        }
      } catch (error) {
        if (stop.signal.aborted) return;
      }
      if (stop.signal.aborted) return;
      onState("broken");
      if (once) return;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  })();
  return () => stop.abort();
}

export const callPath = (callId, what) => `calls/${encodeURIComponent(callId)}/${what}`;
