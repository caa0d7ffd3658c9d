// The table of live calls. Only the rows that can be seen are there; all levels are drawn on one
// canvas above them.

import { age, color, drawing, element, isGrave, problem, short, stateText } from "./format.js";

const ROW = 36;
const COLUMNS = [
  ["problem", ""],
  ["caller", "Call"],
  ["state", "State"],
  ["level", "Caller / bot"],
  ["age", "Age"],
  ["codec", "Codecs"],
  ["processors", "Processor"],
  ["worker", "Worker"],
  ["problems", "Problem"],
];

// A row as it comes: [worker, [number, id, caller, callee, age, codec, send codec, processors,
// state, hints, bad, errors, muted]].
function call([worker, row]) {
  const [number, id, caller, callee, age, codec, sendCodec, processors, state, hints, bad, errors, muted] = row;
  const names = [...(state === "reconnecting" ? [state] : []), ...(errors ? ["errors"] : []), ...bad, ...hints];
  names.sort((a, b) => isGrave(b) - isGrave(a));
  const problems = [...new Set(names.map(problem))]; // a hint and a trouble may be the same
  return {
    key: `${worker}/${number}`, id, caller, callee, age, state, muted,
    processors: processors.split("+").map(short).join(" + "),
    codec: codec === sendCodec ? codec : `${codec} → ${sendCodec}`,
    worker: worker < 0 ? "" : worker,
    problems,
    nGrave: names.filter(isGrave).length,
    text: [id, caller, callee, codec, sendCodec, processors, state, stateText(state, muted), ...problems]
      .join(" ").toLowerCase(),
  };
}

const KEYS = {
  problem: (c) => -(100 * c.nGrave + c.problems.length), caller: (c) => c.caller, state: (c) => c.state,
  level: (c) => -c.heard, age: (c) => c.age, codec: (c) => c.codec, processors: (c) => c.processors,
  worker: (c) => c.worker, problems: (c) => c.problems.join() || "~",
};

export class Table {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.all = [];
    this.shown = [];
    this.levels = new Map();
    this.sort = { key: "problem", down: false };
    this.chosen = null;
    this.pool = [];
    this.find = (id) => document.getElementById(id);
    this.scroll = this.find("scroll");
    this.rows = this.find("rows");
    this.canvas = this.find("meters");
    this.makeHead();
    this.scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.scroll);
    for (const id of ["search", "state", "problems"])
      this.find(id).addEventListener("input", () => this.select());
    this.find("table").addEventListener("keydown", (event) => this.key(event));
  }

  makeHead() {
    for (const [key, title] of COLUMNS) {
      const cell = element("span");
      cell.setAttribute("role", "columnheader");
      const button = element("button", key === "level" ? "" : title || "!");
      if (key === "level") button.append(element("span", "Caller", "caller"), " / ", element("span", "bot", "bot"));
      button.type = "button";
      button.title = title ? `Sort by ${title.toLowerCase()}` : "Calls with a problem first: ! a problem, ~ delayed by others or by the machine";
      button.addEventListener("click", () => {
        this.sort = { key, down: this.sort.key === key && !this.sort.down };
        this.select();
      });
      cell.append(button);
      cell.dataset.key = key;
      this.find("head").append(cell);
    }
  }

  told(rows) {
    this.all = rows.map(call);
    this.select();
  }

  levelsTold(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const levels = new Map();
    for (let at = 0; at < bytes.byteLength; ) {
      const worker = view.getInt32(at), n = view.getUint32(at + 4);
      at += 8;
      for (let i = 0; i < n; i++, at += 6)
        levels.set(`${worker}/${view.getUint32(at)}`, [view.getUint8(at + 4), view.getUint8(at + 5)]);
    }
    this.levels = levels;
    this.drawMeters();
  }

  select() {
    const wanted = this.find("search").value.trim().toLowerCase().split(/\s+/);
    const state = this.find("state").value, onlyBad = this.find("problems").checked;
    this.shown = this.all.filter(
      (c) => wanted.every((word) => c.text.includes(word)) && (!state || c.state === state) &&
        (!onlyBad || c.nGrave));
    for (const c of this.shown) c.heard = Math.max(...(this.levels.get(c.key) || [0]));
    const of = KEYS[this.sort.key], way = this.sort.down ? -1 : 1;
    // Under the pointer no row moves away: new ones come behind the others.
    const held = this.rows.matches(":hover") && this.sort === this.sorted ? this.places : new Map();
    this.sorted = this.sort;
    this.shown.sort((a, b) => {
      const first = held.get(a.key) ?? held.size, second = held.get(b.key) ?? held.size;
      if (first !== second) return first - second;
      const x = of(a), y = of(b);
      return (x < y ? -way : x > y ? way : 0) || a.age - b.age || (a.id < b.id ? -1 : 1);
    });
    this.places = new Map(this.shown.map((c, at) => [c.key, at]));
    this.find("table").classList.toggle("one-process", this.all.every((c) => c.worker === ""));
    for (const cell of this.find("head").children)
      cell.setAttribute("aria-sort", cell.dataset.key !== this.sort.key ? "none" : this.sort.down ? "descending" : "ascending");
    const nBad = this.all.filter((c) => c.nGrave).length;
    const nMuted = this.all.filter((c) => c.muted).length;
    const nLate = this.all.filter((c) => c.problems.length && !c.nGrave).length;
    this.find("count").textContent =
      `${this.shown.length} of ${this.all.length} calls` + (nBad ? `, ${nBad} with a problem` : "") +
      (nLate ? `, ${nLate} delayed` : "") + (nMuted ? `, ${nMuted} muted` : "");
    this.draw();
  }

  draw() {
    this.rows.style.height = `${this.shown.length * ROW}px`;
    // As wide as the rows, which a scroll bar makes narrower.
    this.find("head").style.paddingRight = `${8 + this.scroll.offsetWidth - this.scroll.clientWidth}px`;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - 2);
    const last = Math.min(this.shown.length, Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / ROW) + 2);
    while (this.pool.length < last - first) this.pool.push(this.makeRow());
    this.pool.forEach((row, n) => {
      const at = first + n, c = at < last ? this.shown[at] : null;
      row.hidden = !c;
      if (c) this.fill(row, c, at);
    });
    this.drawMeters();
  }

  makeRow() {
    const row = element("div", undefined, "row");
    row.setAttribute("role", "row");
    row.cells = COLUMNS.map(([key]) => {
      const cell = element("span");
      cell.setAttribute("role", "gridcell");
      row.append(cell);
      return cell;
    });
    row.cells[0].className = "mark";
    row.cells[1].className = "who";
    row.cells[4].className = "num";
    row.cells[8].className = "problem";
    row.who = element("span");
    row.id_ = element("small", undefined, "call-id");
    row.why = element("small", undefined, "why"); // where the last column has no room
    row.cells[1].append(row.who, row.id_, row.why);
    row.id = `call-row-${this.pool.length}`;
    row.addEventListener("click", () => {
      this.chosen = row.call.id;
      this.onOpen(row.call.id);
      this.draw();
    });
    this.rows.append(row);
    return row;
  }

  fill(row, c, at) {
    row.call = c;
    row.style.transform = `translateY(${at * ROW}px)`;
    row.className = `row${c.nGrave ? " bad" : c.problems.length ? " weak" : ""}${c.id === this.chosen ? " chosen" : ""}`;
    row.setAttribute("aria-selected", String(c.id === this.chosen));
    row.setAttribute("aria-rowindex", String(at + 1));
    const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
    put(row.cells[0], c.nGrave ? "!" : c.problems.length ? "~" : "");
    put(row.who, `${c.caller || "unknown"} → ${c.callee || "unknown"}`);
    put(row.id_, c.id);
    put(row.why, c.problems.join(", "));
    if (c.id === this.chosen) this.find("table").setAttribute("aria-activedescendant", row.id);
    put(row.cells[2], stateText(c.state, c.muted));
    put(row.cells[4], age(c.age));
    put(row.cells[5], c.codec);
    put(row.cells[6], c.processors || "none");
    put(row.cells[7], String(c.worker));
    put(row.cells[8], c.problems.join(", "));
    row.title = c.problems.join(", ");
  }

  // One canvas over the column of levels; nothing is drawn where nothing has changed.
  drawMeters() {
    const visible = this.pool.filter((row) => !row.hidden);
    const picture = visible.map((row) => [row.style.transform, this.levels.get(row.call.key)]);
    const now = JSON.stringify([picture, this.scroll.scrollTop, this.scroll.clientWidth, this.scroll.clientHeight]);
    if (now === this.drawn) return;
    this.drawn = now;
    const { canvas, scroll } = this;
    const cell = visible.length ? visible[0].cells[3] : null;
    const left = cell ? cell.offsetLeft : 0, width = cell ? cell.offsetWidth : 0;
    canvas.style.left = `${left}px`;
    canvas.style.top = `${scroll.offsetTop}px`;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${scroll.clientHeight}px`;
    if (!width) return;
    const context = drawing(canvas, width, scroll.clientHeight);
    const colors = [color("caller"), color("bot")], line = color("line");
    for (const row of visible) {
      const levels = this.levels.get(row.call.key);
      const top = this.shown.indexOf(row.call) * ROW - scroll.scrollTop;
      [0, 1].forEach((side) => {
        const y = top + 9 + 10 * side;
        context.fillStyle = line;
        context.fillRect(0, y + 3, width, 1);
        context.fillStyle = colors[side];
        if (levels) context.fillRect(0, y, (width * levels[side]) / 255, 7);
      });
    }
  }

  key(event) {
    if (event.target !== this.find("table")) return;
    const at = this.shown.findIndex((c) => c.id === this.chosen);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step && this.shown.length) {
      const next = Math.max(0, Math.min(this.shown.length - 1, at < 0 ? 0 : at + step));
      this.chosen = this.shown[next].id;
      this.show(next);
    } else if (event.key === "Enter" && this.chosen) this.onOpen(this.chosen);
    else return;
    event.preventDefault();
  }

  show(at) {
    const { scroll } = this, top = at * ROW;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    if (top + ROW > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + ROW - scroll.clientHeight;
    this.draw();
  }
}
