// Runs in the audio thread. "mouth" cuts what the microphone gives into blocks of 20 ms; "ear"
// plays blocks as they come. Both speak int16.

const BEGIN_MS = 60; // the ear waits for so much before it begins
const MOST_MS = 250; // more than this is delay: the oldest goes
const TELL_EVERY = 50; // quanta of 128 samples

class Mouth extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 50));
    this.n = 0;
  }

  process(inputs) {
    const channel = inputs[0][0];
    if (!channel) return true;
    for (const sample of channel) {
      this.block[this.n++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32767)));
      if (this.n === this.block.length) {
        this.port.postMessage(this.block);
        this.n = 0;
      }
    }
    return true;
  }
}

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.clear();
    this.quanta = 0;
    this.port.onmessage = ({ data }) => (data === null ? this.clear() : this.add(data));
  }

  clear() {
    this.blocks = [];
    this.at = 0; // in the first block
    this.waiting = 0;
    this.plays = false;
  }

  add(block) {
    this.blocks.push(block);
    this.waiting += block.length;
    const most = (MOST_MS * sampleRate) / 1000;
    const keep = (BEGIN_MS * sampleRate) / 1000;
    if (this.waiting > most) while (this.waiting > keep) this.next();
  }

  next() {
    const sample = this.blocks[0][this.at++];
    this.waiting -= 1;
    if (this.at === this.blocks[0].length) {
      this.blocks.shift();
      this.at = 0;
    }
    return sample / 32768;
  }

  process(_, outputs) {
    if (this.waiting >= (BEGIN_MS * sampleRate) / 1000) this.plays = true;
    const [first, ...others] = outputs[0];
    for (let k = 0; k < first.length; k++) {
      if (this.waiting === 0) this.plays = false;
      first[k] = this.plays ? this.next() : 0;
    }
    for (const other of others) other.set(first);
    if (++this.quanta % TELL_EVERY === 0) this.port.postMessage(this.waiting / sampleRate);
    return true;
  }
}

registerProcessor("mouth", Mouth);
registerProcessor("ear", Ear);
