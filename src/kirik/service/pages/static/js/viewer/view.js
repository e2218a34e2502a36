// Where the film lies on the stage: turned upright, turned by hand, zoomed, moved; and its window.
// All as plain values, so that a view can be reset, and the arithmetic tested.

/** EXIF orientation: the linear part [a, b, c, d] that turns stored pixels upright. */
const TURNS = {
  1: [1, 0, 0, 1],
  2: [-1, 0, 0, 1],
  3: [-1, 0, 0, -1],
  4: [1, 0, 0, -1],
  5: [0, 1, 1, 0],
  6: [0, 1, -1, 0],
  7: [0, -1, -1, 0],
  8: [0, -1, 1, 0],
};

export const WHOLE = { centre: 127.5, width: 255 };
const LEAST = 0.05;
const MOST = 40;

export class View {
  /** width, height: of the film's own pixels, as stored. aspect: how much higher than wide one is. */
  constructor(width, height, orientation = 1, aspect = 1) {
    Object.assign(this, { width, height, orientation, aspect, stage: { width: 1, height: 1 } });
    this.reset();
  }

  reset() {
    Object.assign(this, { turn: 0, inverted: false, window: { ...WHOLE } });
    this.fit();
  }

  /** The whole film, in the middle. */
  fit() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
  }

  resize(width, height) {
    this.stage = { width, height };
  }

  get sideways() {
    return this.orientation >= 5 !== (this.turn % 180 !== 0);
  }

  /** The film's width and height on the stage, turned, in widths of its pixels. */
  get extent() {
    const height = this.height * this.aspect;
    return this.sideways ? [height, this.width] : [this.width, height];
  }

  /** Stage pixels for a film pixel's width when the whole film is seen. */
  get base() {
    const [width, height] = this.extent;
    return Math.min(this.stage.width / width, this.stage.height / height);
  }

  get scale() {
    return this.base * this.zoom;
  }

  /** The matrix [a, b, c, d, e, f] from the film's pixels to the stage's. */
  get matrix() {
    const [a, b, c, d] = TURNS[this.orientation] ?? TURNS[1];
    const angle = (this.turn * Math.PI) / 180;
    const cos = Math.round(Math.cos(angle));
    const sin = Math.round(Math.sin(angle));
    const k = this.scale;
    const l = k * this.aspect;
    const m = [k * (cos * a - sin * b), k * (sin * a + cos * b), l * (cos * c - sin * d), l * (sin * c + cos * d)];
    const e = this.stage.width / 2 + this.x - (m[0] * this.width + m[2] * this.height) / 2;
    const f = this.stage.height / 2 + this.y - (m[1] * this.width + m[3] * this.height) / 2;
    return [...m, e, f];
  }

  /** A point of the film on the stage. */
  toStage(x, y) {
    const [a, b, c, d, e, f] = this.matrix;
    return [a * x + c * y + e, b * x + d * y + f];
  }

  /** A point of the stage on the film. */
  toFilm(x, y) {
    const [a, b, c, d, e, f] = this.matrix;
    const det = a * d - b * c;
    return [(d * (x - e) - c * (y - f)) / det, (a * (y - f) - b * (x - e)) / det];
  }

  /** A film's box {x, y, width, height} on the stage; the other way with `by` toFilm. */
  box({ x, y, width, height }, by = "toStage") {
    const one = this[by](x, y);
    const other = this[by](x + width, y + height);
    return {
      x: Math.min(one[0], other[0]),
      y: Math.min(one[1], other[1]),
      width: Math.abs(one[0] - other[0]),
      height: Math.abs(one[1] - other[1]),
    };
  }

  /** Zoom by a factor about a point of the stage, which stays where it is. */
  zoomAt(factor, x = this.stage.width / 2, y = this.stage.height / 2) {
    const zoom = Math.min(MOST, Math.max(LEAST, Math.max(0.5, this.zoom * factor)));
    const kept = zoom / this.zoom;
    const [cx, cy] = [x - this.stage.width / 2, y - this.stage.height / 2];
    this.x = cx - (cx - this.x) * kept;
    this.y = cy - (cy - this.y) * kept;
    this.zoom = zoom;
    this.hold();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.hold();
  }

  /** Some of the film always stays in sight. */
  hold() {
    const [width, height] = this.extent;
    const limit = (side, stage) => Math.max(0, (side * this.scale + stage) / 2 - 60);
    const [mx, my] = [limit(width, this.stage.width), limit(height, this.stage.height)];
    this.x = Math.min(mx, Math.max(-mx, this.x));
    this.y = Math.min(my, Math.max(-my, this.y));
  }

  /** Bring a film's box to the middle, as large as leaves room around it. */
  show(box) {
    this.fit();
    const there = this.box(box);
    const room = Math.min(this.stage.width / there.width, this.stage.height / there.height) / 3;
    this.zoom = Math.min(8, Math.max(1, room));
    const [cx, cy] = this.toStage(box.x + box.width / 2, box.y + box.height / 2);
    this.x += this.stage.width / 2 - cx;
    this.y += this.stage.height / 2 - cy;
    this.hold();
  }

  rotate(by) {
    this.turn = (this.turn + by + 360) % 360;
    this.fit();
  }

  /** Change the window: its width and its centre, in gray levels of 0…255. */
  shift(dWidth, dCentre) {
    const { centre, width } = this.window;
    this.window = {
      width: Math.min(510, Math.max(2, width + dWidth)),
      centre: Math.min(255, Math.max(0, centre + dCentre)),
    };
  }
}

/** The window that shows what lies between the darkest and brightest hundredth, black apart. */
export function windowOf(counts) {
  const seen = counts.map((count, level) => (level > 4 ? count : 0));
  const total = seen.reduce((sum, count) => sum + count, 0);
  if (!total) return { ...WHOLE };
  const level = (share) => {
    let sum = 0;
    return seen.findIndex((count) => (sum += count) >= share * total);
  };
  const [low, high] = [level(0.01), level(0.995)];
  return { centre: (low + high) / 2, width: Math.max(8, high - low) };
}
