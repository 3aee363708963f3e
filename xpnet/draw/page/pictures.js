// The pictures below the board: the steps of the preparation, hidden units, and maps of filters.

const NIGHT = [16, 22, 35];
const LIT = [255, 209, 102];
const COLD = [99, 179, 255];

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function shares(text) {
  return Float32Array.from(new Int8Array(bytes(text).buffer), (value) => value / 127);
}

// Paints `colour(i)`, three numbers from 0 to 255, at each pixel of a canvas.
function paint(canvas, height, width, colour) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) image.data.set([...colour(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

function glow(share) {
  const end = share < 0 ? COLD : LIT;
  const bright = Math.sqrt(Math.abs(share)); // so that weak activations are seen, too
  return NIGHT.map((low, i) => low + bright * (end[i] - low));
}

function paintShares(canvas, height, width, values) {
  paint(canvas, height, width, (i) => glow(values[i]));
}

export class Steps {
  constructor(list) {
    this.list = list;
  }

  show(steps) {
    while (this.list.children.length > steps.length) this.list.lastChild.remove();
    steps.forEach(({ name, height, width, pixels }, i) => {
      const item = this.list.children[i] ?? this.added();
      const values = bytes(pixels);
      paint(item.firstChild, height, width, (at) => [values[at], values[at], values[at]]);
      item.lastChild.textContent = name;
    });
  }

  added() {
    const item = document.createElement("li");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true"); // the name beside it says what it is
    item.append(canvas, document.createElement("span"));
    this.list.append(item);
    return item;
  }

  clear() {
    this.show([{ name: "nothing is drawn", height: 1, width: 1, pixels: btoa("\0") }]);
  }
}

export class Inside {
  constructor(place, layers) {
    this.layers = layers.map((about, i) => new Layer(place, about, i + 1));
  }

  show(found) {
    this.layers.forEach((layer, i) => layer.show(shares(found[i].values)));
  }

  clear() {
    this.layers.forEach((layer) => layer.show(null));
  }
}

class Layer {
  constructor(place, about, number) {
    this.about = about;
    this.size = about.kind === "maps" ? about.height * about.width : 1;
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const made = document.createElement("span");
    const what = about.kind === "maps" ? "filters" : "units";
    const rest = about.count > about.shown ? `, the first ${about.shown} of ${about.count}` : "";
    caption.append(`Layer ${number}: ${about.count} ${what}${rest} `, made);
    made.textContent = about.made_by;
    this.box = document.createElement("div");
    this.box.className = `layer ${about.kind}`;
    this.box.classList.toggle("large", about.shown <= (about.kind === "maps" ? 8 : 64));
    this.box.setAttribute("role", "img");
    for (let i = 0; i < about.shown; i++) this.box.append(this.part(i));
    figure.append(caption, this.box);
    place.append(figure);
    this.show(null);
  }

  part(i) {
    if (this.about.kind === "units") return document.createElement("i");
    const part = document.createElement("div");
    const map = document.createElement("canvas");
    if (this.about.kernels) {
      const { height, width, values } = this.about.kernels;
      const kernel = document.createElement("canvas");
      kernel.className = "kernel";
      kernel.title = `filter ${i + 1}`;
      paintShares(kernel, height, width, shares(values).subarray(i * height * width));
      part.append(kernel);
    }
    part.append(map);
    return part;
  }

  show(values) {
    const shown = values ?? new Float32Array(this.about.shown * this.size);
    [...this.box.children].forEach((part, i) => {
      if (this.about.kind === "units") {
        part.style.setProperty("--share", Math.abs(shown[i]).toFixed(3));
        part.classList.toggle("negative", shown[i] < 0);
      } else {
        const own = shown.subarray(i * this.size, (i + 1) * this.size);
        paintShares(part.lastChild, this.about.height, this.about.width, own);
      }
    });
    this.box.setAttribute("aria-label", this.described(values));
  }

  described(values) {
    const { kind, shown } = this.about;
    if (!values) return `${shown} ${kind}, dark`;
    let bright = 0;
    for (let i = 0; i < shown; i++) {
      bright += values.subarray(i * this.size, (i + 1) * this.size).some((share) => Math.abs(share) > 0.5);
    }
    return `${shown} ${kind}, of which ${bright} are bright`;
  }
}
