// The radiograph on a canvas: the film in its window, the evidence over it. Gray levels are exact:
// each of the film's pixels on the stage goes through one table (window, level, invert).

import { tint } from "./tint.js";

const INK = "#05070a";

export class Film {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    this.levels = [];
    this.evidence = null;
    this.table = new Uint32Array(256);
  }

  /** Nothing is shown any more. */
  clear() {
    this.levels = [];
    this.evidence = null;
  }

  /** Load the radiograph; resolves with its size in pixels. wanted: asked when it has come. */
  async load(address, wanted) {
    const image = await picture(address);
    if (!wanted()) return null;
    this.evidence = null;
    this.levels = [image];
    // Halves of halves, so that a large film far away is drawn fast and without shimmer.
    for (let last = image; Math.max(last.width, last.height) > 700;) {
      const half = canvasOf(Math.ceil(last.width / 2), Math.ceil(last.height / 2));
      const context = half.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.drawImage(last, 0, 0, half.width, half.height);
      this.levels.push((last = half));
    }
    return { width: image.width, height: image.height };
  }

  async loadEvidence(address, wanted) {
    const image = await picture(address);
    if (wanted()) this.evidence = tint(image);
  }

  /** How often each gray occurs in the film. */
  histogram() {
    const small = this.levels.at(-1);
    const canvas = canvasOf(small.width, small.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(small, 0, 0);
    const counts = new Array(256).fill(0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) counts[data[at]] += 1;
    return counts;
  }

  /** Draw a view; opacity: of the evidence, 0…1. */
  draw(view, opacity) {
    const { canvas, context } = this;
    const dense = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [Math.round(view.stage.width * dense), Math.round(view.stage.height * dense)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = INK;
    context.fillRect(0, 0, width, height);
    if (!this.levels.length) return;
    const matrix = view.matrix.map((value) => value * dense);
    this.drawFilm(view, matrix);
    this.applyWindow(view, dense);
    if (this.evidence && opacity > 0) this.drawEvidence(view, matrix, opacity);
  }

  drawFilm(view, [a, b, c, d, e, f]) {
    const scale = Math.hypot(a, b);
    const depth = Math.max(0, Math.min(this.levels.length - 1, Math.floor(Math.log2(1 / scale))));
    const source = this.levels[depth];
    const [kx, ky] = [view.width / source.width, view.height / source.height];
    this.context.imageSmoothingEnabled = scale < 6;
    this.context.imageSmoothingQuality = scale < 1 ? "high" : "medium";
    this.context.setTransform(a * kx, b * kx, c * ky, d * ky, e, f);
    this.context.drawImage(source, 0, 0);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
  }

  applyWindow(view, dense) {
    const { centre, width } = view.window;
    if (!view.inverted && centre === 127.5 && width === 255) return;
    const there = view.box({ x: 0, y: 0, width: view.width, height: view.height });
    const left = Math.max(0, Math.floor(there.x * dense));
    const top = Math.max(0, Math.floor(there.y * dense));
    const right = Math.min(this.canvas.width, Math.ceil((there.x + there.width) * dense));
    const bottom = Math.min(this.canvas.height, Math.ceil((there.y + there.height) * dense));
    if (right <= left || bottom <= top) return;
    this.fillTable(centre, width, view.inverted);
    const area = this.context.getImageData(left, top, right - left, bottom - top);
    const pixels = new Uint32Array(area.data.buffer);
    for (let at = 0; at < pixels.length; at += 1) pixels[at] = this.table[pixels[at] & 255];
    this.context.putImageData(area, left, top);
  }

  fillTable(centre, width, inverted) {
    for (let level = 0; level < 256; level += 1) {
      const share = Math.min(1, Math.max(0, (level - centre) / width + 0.5));
      const gray = Math.round(255 * (inverted ? 1 - share : share));
      this.table[level] = (255 << 24) | (gray << 16) | (gray << 8) | gray;
    }
  }

  drawEvidence(view, [a, b, c, d, e, f], opacity) {
    const { context, evidence } = this;
    const [kx, ky] = [view.width / evidence.width, view.height / evidence.height];
    context.setTransform(a * kx, b * kx, c * ky, d * ky, e, f);
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(evidence.heat, 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = Math.min(1, opacity * 1.4);
    const path = new Path2D();
    path.addPath(evidence.contour, new DOMMatrix([a * kx, b * kx, c * ky, d * ky, e, f]));
    for (const [colour, thick] of [
      ["#000a", 4],
      ["#f0e442", 2],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = thick * Math.min(devicePixelRatio || 1, 2);
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }
}

async function picture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
