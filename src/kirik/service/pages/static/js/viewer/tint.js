// Evidence as kirik's overlays show it: a warm tint whose strength is absolute, so that weak
// evidence looks weak, and a yellow contour where it is more than faint.

import { contour } from "./contour.js";

const HEAT = [230, 120, 0];
const CONTOUR_AT = 0.25;
const SIDE = 256;

/** image: RGBA whose alpha is the evidence. Gives the tint as a canvas, and the contour's path. */
export function tint(image) {
  const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
  const width = Math.max(2, Math.round(image.width * scale));
  const height = Math.max(2, Math.round(image.height * scale));
  const heat = Object.assign(document.createElement("canvas"), { width, height });
  const context = heat.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  const area = context.getImageData(0, 0, width, height);
  const evidence = new Float32Array(width * height);
  for (let at = 0; at < evidence.length; at += 1) {
    evidence[at] = area.data[4 * at + 3] / 255;
    // Below 0.1 the tint would only veil the bone; the root lifts what is weak out of the dark.
    const share = Math.sqrt(Math.max(0, (evidence[at] - 0.1) / 0.9));
    area.data.set([...HEAT, Math.round(255 * share)], 4 * at);
  }
  context.putImageData(area, 0, 0);
  return { heat, width, height, contour: contour(evidence, width, height, CONTOUR_AT) };
}
