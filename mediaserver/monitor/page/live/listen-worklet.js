// Plays both sides of a call at the call's own time: the caller left, the bot right.
//
// Each side is a ring that is written at the time of the audio and read a little behind the call's
// "now". The bot's audio comes before it is heard, and waits here; what is cleared is taken out.

const DELAY_S = 0.2; // behind the newest time that is known
const RING_S = 4;
const JUMP_S = 0.12; // a play head that is off by more is set anew
const JOIN_S = 0.012; // pieces that are so near to each other belong together

class Listen extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(RING_S * sampleRate);
    this.rings = [new Float32Array(this.size), new Float32Array(this.size)];
    this.ends = [0, 0];
    this.head = null; // the next sample to play, counted from the call's start
    this.offsets = []; // the call's time less ours, as it came
    this.jumps = 0;
    this.toldAt = 0;
    this.port.onmessage = ({ data }) => (data.audio ? this.write(data) : this.time(data.now));
  }

  time(now) {
    this.offsets.push([currentTime, now - currentTime]);
    this.offsets = this.offsets.filter(([at]) => at > currentTime - 3);
  }

  // Where the play head should be: behind the time that came with the least delay.
  wanted() {
    if (!this.offsets.length) return null;
    return (currentTime + Math.max(...this.offsets.map(([, offset]) => offset)) - DELAY_S) * sampleRate;
  }

  write({ side, at, rate, audio }) {
    if (side === 2) return this.clear(Math.round(at * sampleRate));
    const step = rate / sampleRate, n = Math.round(audio.length / step);
    let start = Math.round(at * sampleRate);
    if (Math.abs(start - this.ends[side]) < JOIN_S * sampleRate) start = this.ends[side];
    this.ends[side] = start + n;
    const ring = this.rings[side], head = this.head ?? start;
    for (let i = 0; i < n; i++) {
      const place = start + i;
      if (place < head || place >= head + this.size) continue;
      const from = i * step, whole = Math.floor(from), next = Math.min(whole + 1, audio.length - 1);
      ring[place % this.size] = audio[whole] + (from - whole) * (audio[next] - audio[whole]);
    }
  }

  clear(from) {
    const ring = this.rings[1];
    for (let place = Math.max(from, this.head ?? from); place < this.ends[1]; place++) ring[place % this.size] = 0;
    this.ends[1] = Math.min(this.ends[1], from);
  }

  process(_, [output]) {
    const wanted = this.wanted(), n = output[0].length;
    if (wanted === null || wanted < 0) return true;
    if (this.head === null || Math.abs(wanted - this.head) > JUMP_S * sampleRate) this.jump(Math.round(wanted));
    for (let i = 0; i < n; i++, this.head++) {
      const place = this.head % this.size;
      for (const side of [0, 1]) {
        output[side][i] = this.rings[side][place];
        this.rings[side][place] = 0; // it is not to be heard again a round later
      }
    }
    if (currentTime - this.toldAt > 0.25) this.tell();
    return true;
  }

  jump(to) {
    const from = this.head ?? to;
    for (let place = from; place < Math.min(to, from + this.size); place++)
      for (const ring of this.rings) ring[place % this.size] = 0;
    this.head = to;
    this.jumps++;
  }

  tell() {
    this.toldAt = currentTime;
    const newest = currentTime + Math.max(...this.offsets.map(([, offset]) => offset));
    this.port.postMessage({ behind_s: newest - this.head / sampleRate, jumps: this.jumps });
  }
}

registerProcessor("listen", Listen);
