// A board for pointers and keys. A stroke is a width and points, in shares of the board.

const STEP = 1 / 28; // of an arrow key: a pixel of the model's picture
const SMALL_STEP = STEP / 4;
const NEAR = 0.002; // points nearer than this to the last one are left out
const MOST_POINTS = 10000; // in all strokes
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const INK = "#ffffff";
const SOFT = "#8fa0bd";
const MARK = "#ffd166";

export class Board {
  // `changed` is called after each change of the drawing, `say` with what a person who does not see it needs.
  constructor(canvas, side, changed, say) {
    this.canvas = canvas;
    this.side = side;
    this.changed = changed;
    this.say = say;
    this.strokes = [];
    this.points = 0;
    this.stroke = null; // the one being drawn
    this.place = [0.5, 0.5]; // of the pen that keys move
    this.held = new Set(); // arrow keys
    this.isKeyed = false; // whether the keys' pen is shown
    this.copy = Object.assign(document.createElement("canvas"), { width: side, height: side })
      .getContext("2d", { willReadFrequently: true });
    this.listen();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  setWidth(width) {
    this.width = width;
    this.draw();
  }

  undo() {
    this.stroke = null;
    const gone = this.strokes.pop();
    this.points -= gone?.points.length ?? 0;
    this.update();
    this.say(gone ? "Undone" : "Nothing to undo");
  }

  clear() {
    this.stroke = null;
    this.strokes = [];
    this.points = 0;
    this.update();
    this.say("Cleared");
  }

  // White ink on black, a byte for each pixel.
  pixels() {
    this.copy.fillStyle = "#000000";
    this.copy.fillRect(0, 0, this.side, this.side);
    this.paint(this.copy, this.side);
    const { data } = this.copy.getImageData(0, 0, this.side, this.side);
    return Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
  }

  begin(point) {
    if (this.points >= MOST_POINTS) {
      this.say("The board is full: undo a stroke or clear it");
      return;
    }
    this.stroke = { width: this.width, points: [] };
    this.strokes.push(this.stroke);
    this.add(point);
  }

  add(point) {
    const last = this.stroke.points.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return;
    if (this.points >= MOST_POINTS) return;
    this.stroke.points.push(point);
    this.points += 1;
  }

  update() {
    this.draw();
    this.changed();
  }

  draw() {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (this.canvas.width !== side || this.canvas.height !== side) this.canvas.width = this.canvas.height = side;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    if (this.isEmpty) this.invite(context, side);
    this.paint(context, side);
    if (this.isKeyed && document.activeElement === this.canvas) this.paintPen(context, side);
  }

  paint(context, side) {
    context.strokeStyle = context.fillStyle = INK;
    context.lineCap = context.lineJoin = "round";
    for (const { width, points } of this.strokes) {
      const [first, ...others] = points.map((point) => point.map((share) => share * side));
      context.lineWidth = width * side;
      context.beginPath();
      context.arc(...first, (width * side) / 2, 0, 2 * Math.PI); // a stroke without length is a dot
      context.fill();
      context.beginPath();
      context.moveTo(...first);
      for (const point of others) context.lineTo(...point);
      context.stroke();
    }
  }

  invite(context, side) {
    context.fillStyle = SOFT;
    context.font = `${side / 16}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText("Draw a digit here", side / 2, side / 2);
  }

  // A ring where the keys' pen is, filled while it is down.
  paintPen(context, side) {
    const [x, y] = this.place.map((share) => share * side);
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeStyle = context.fillStyle = MARK;
    context.beginPath();
    context.arc(x, y, Math.max((this.width * side) / 2, 5 * devicePixelRatio), 0, 2 * Math.PI);
    context.stroke();
    if (this.stroke) context.fill();
  }

  listen() {
    const on = (name, act) => this.canvas.addEventListener(name, act);
    on("pointerdown", (event) => this.pointerDown(event));
    on("pointermove", (event) => this.pointerMove(event));
    on("pointerup", (event) => this.pointerUp(event));
    on("pointercancel", (event) => this.pointerUp(event));
    on("keydown", (event) => this.keyDown(event));
    on("keyup", (event) => this.held.delete(event.key));
    on("focus", () => this.draw());
    on("blur", () => this.leave());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  where(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  pointerDown(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.isKeyed = false;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.begin(this.where(event));
    this.update();
  }

  pointerMove(event) {
    if (event.pointerId !== this.pointer || !this.stroke) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.add(this.where(each));
    this.update();
  }

  pointerUp(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.stroke = null;
  }

  keyDown(event) {
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.altKey || isCommand !== (event.key === "z")) return;
    if (event.key in ARROWS) this.move(event);
    else if (event.key === " ") this.press(event);
    else if (event.key === "Backspace" || event.key === "z") this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
  }

  move(event) {
    this.isKeyed = true;
    this.held.add(event.key);
    const step = event.shiftKey ? SMALL_STEP : STEP;
    for (const key of this.held) {
      this.place = this.place.map((share, i) => Math.min(1, Math.max(0, share + step * ARROWS[key][i])));
    }
    if (this.stroke) this.add(this.place);
    if (this.stroke) this.update();
    else this.draw();
  }

  press(event) {
    this.isKeyed = true;
    if (event.repeat) return;
    const [column, row] = this.place.map((share) => Math.round(28 * share));
    const where = `column ${column}, row ${row} of 28`;
    if (this.stroke) {
      this.stroke = null;
      this.draw();
      this.say(`Pen up at ${where}`);
    } else {
      this.begin(this.place);
      if (!this.stroke) return;
      this.update();
      this.say(`Pen down at ${where}`);
    }
  }

  leave() {
    this.held.clear();
    if (this.pointer == null) this.stroke = null;
    this.draw();
  }
}
