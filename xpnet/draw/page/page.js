// The page of `xpnet draw`: a board, and what the model makes of the drawing on it.

import { Board } from "./board.js";
import { Inside, Steps } from "./pictures.js";

const WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const QUIET = 700; // milliseconds without a change before the answer is spoken
const EMPTY = "Draw a digit on the board";
const UNCLEAR = "No digit yet: draw on";

const find = (id) => document.getElementById(id);

function spokenName(name) {
  return /^\d$/.test(name) ? WORDS[Number(name)] : name;
}

class Answer {
  constructor(about) {
    this.about = about;
    const list = find("figures");
    list.classList.toggle("many", about.classes.length > 10);
    list.classList.toggle("named", about.classes.some((name) => name.length > 2));
    find("figures-title").textContent = about.figure === "probability" ? "Probabilities" : "Outputs";
    this.rows = about.classes.map((name) => {
      const row = document.createElement("li");
      const parts = ["name", "bar", "figure"].map((kind) => {
        const part = document.createElement("span");
        part.className = kind;
        return part;
      });
      parts[0].textContent = parts[0].title = name;
      parts[1].setAttribute("aria-hidden", "true");
      parts[1].append(document.createElement("span"));
      row.append(...parts);
      list.append(row);
      return row;
    });
    this.clear(EMPTY);
  }

  text(figure) {
    return this.about.figure === "probability" ? `${(100 * figure).toFixed(1)} %` : figure.toFixed(2);
  }

  clear(words) {
    find("best").textContent = words;
    find("best").classList.add("words");
    find("share").textContent = "";
    this.rows.forEach((row) => this.fill(row, 0, "–", false));
  }

  show({ figures, predicted }) {
    find("best").textContent = this.about.classes[predicted];
    find("best").classList.remove("words");
    find("share").textContent = this.text(figures[predicted]);
    this.rows.forEach((row, i) => this.fill(row, figures[i], this.text(figures[i]), i === predicted));
  }

  fill(row, figure, text, isBest) {
    const [, bar, shown] = row.children;
    bar.firstChild.style.transform = `scaleX(${Math.min(1, Math.max(0, figure))})`;
    shown.textContent = text;
    row.classList.toggle("best", isBest);
  }

  spoken({ figures, predicted }) {
    const figure = figures[predicted];
    const isShare = this.about.figure === "probability";
    const said = isShare ? `${Math.round(100 * figure)} percent` : `output ${figure.toFixed(2)}`;
    return `${spokenName(this.about.classes[predicted])}, ${said}`;
  }
}

// Says the last text after a pause, so that a drawing in progress is not commented on at each move.
class Speaker {
  say(text, pause = 0) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      find("spoken").textContent = text;
    }, pause);
  }
}

class Page {
  constructor(about) {
    this.speaker = new Speaker();
    this.answer = new Answer(about);
    this.steps = new Steps(find("steps"));
    this.inside = new Inside(find("layers"), about.layers);
    find("inside").hidden = about.layers.length === 0;
    find("weights").hidden = !about.layers.some((layer) => layer.kernels);
    this.board = new Board(find("board"), about.side, () => this.changed(), (text) => this.speaker.say(text));
    find("pen").addEventListener("input", (event) => this.board.setWidth(event.target.value / 100));
    this.board.setWidth(find("pen").value / 100);
    find("undo").addEventListener("click", () => this.board.undo());
    find("clear").addEventListener("click", () => this.board.clear());
    this.changed();
  }

  // One request at a time: what is drawn meanwhile is sent as one newer drawing.
  async changed() {
    this.isStale = true;
    if (this.board.isEmpty) {
      this.request?.abort();
      this.clear(EMPTY);
    }
    if (this.isAsking) return;
    this.isAsking = true;
    find("answering").setAttribute("aria-busy", "true");
    while (this.isStale) {
      await new Promise(requestAnimationFrame);
      this.isStale = false;
      if (!this.board.isEmpty) await this.ask();
    }
    this.isAsking = false;
    find("answering").setAttribute("aria-busy", "false");
  }

  async ask() {
    this.request = new AbortController();
    const headers = { "Content-Type": "application/octet-stream" };
    const options = { method: "POST", headers, body: this.board.pixels(), signal: this.request.signal };
    try {
      const response = await fetch("drawing", options);
      const found = response.ok ? await response.json() : trouble(await response.text());
      if (found && !this.request.signal.aborted) this.show(found);
    } catch (error) {
      if (error.name !== "AbortError") trouble("The server does not answer; start `xpnet draw` again.");
    }
  }

  show(found) {
    trouble("");
    if (found.state !== "seen") {
      this.clear(found.state === "empty" ? EMPTY : UNCLEAR);
      return;
    }
    this.answer.show(found);
    this.steps.show(found.steps);
    this.inside.show(found.layers);
    this.speaker.say(this.answer.spoken(found), QUIET);
  }

  clear(words) {
    this.answer.clear(words);
    this.steps.clear();
    this.inside.clear();
    this.speaker.say(words, QUIET);
  }
}

function trouble(text) {
  find("trouble").textContent = text;
  find("trouble").hidden = text === "";
}

function described(about) {
  const parts = [`${about.name}: ${about.model}`];
  if (about.accuracy !== null) parts.push(`test accuracy ${(100 * about.accuracy).toFixed(2)} %`);
  return [...parts, `on ${about.backend}`].join(" · ");
}

try {
  const about = await (await fetch("model")).json();
  find("model").textContent = described(about);
  new Page(about);
  document.documentElement.dataset.ready = "";
} catch (error) {
  trouble("The server does not answer; start `xpnet draw` again, and reload this page.");
}
