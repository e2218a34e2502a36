// Marching squares: the line along which a map crosses a level, as a path in the map's pixels.

// By which corners lie inside (1 upper left, 2 upper right, 4 lower right, 8 lower left): pairs of
// sides (0 top, 1 right, 2 bottom, 3 left) that the line joins.
const JOINS = [
  [],
  [[3, 0]],
  [[0, 1]],
  [[3, 1]],
  [[1, 2]],
  [
    [3, 0],
    [1, 2],
  ],
  [[0, 2]],
  [[3, 2]],
  [[2, 3]],
  [[2, 0]],
  [
    [0, 1],
    [2, 3],
  ],
  [[2, 1]],
  [[1, 3]],
  [[1, 0]],
  [[0, 3]],
  [],
];

/** values: Float32Array, row by row. Gives a Path2D of line pieces. */
export function contour(values, width, height, level) {
  const path = new Path2D();
  // A rim of nothing, so that what touches the edge is closed there.
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : values[y * width + x]);
  for (let y = -1; y < height; y += 1) {
    for (let x = -1; x < width; x += 1) {
      const corners = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const kind = corners.reduce((sum, value, place) => sum + (value >= level ? 1 << place : 0), 0);
      for (const [from, to] of JOINS[kind]) {
        path.moveTo(...crossing(x, y, from, corners, level));
        path.lineTo(...crossing(x, y, to, corners, level));
      }
    }
  }
  return path;
}

function crossing(x, y, side, corners, level) {
  const [one, other] = [corners[side], corners[(side + 1) % 4]];
  const share = (level - one) / (other - one);
  const [px, py] = [
    [share, 0],
    [1, share],
    [1 - share, 1],
    [0, 1 - share],
  ][side];
  return [x + px + 0.5, y + py + 0.5]; // a value stands for its pixel's middle
}
