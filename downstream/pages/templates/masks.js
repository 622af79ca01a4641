// Masks as the page holds them (see `runs` in player.py), and their pictures.
"use strict";
const masks = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // run lengths -> one id per pixel
  const decode = (text, ids, count) => {
    const pixels = new Uint8Array(count);
    const data = bytes(text);
    for (let at = 0, pixel = 0; at < data.length; ) {
      let code = 0;
      let unit = 1;
      do {
        code += (data[at] & 127) * unit;
        unit *= 128;
      } while (data[at++] & 128);
      const length = Math.floor(code / ids.length);
      pixels.fill(ids[code % ids.length], pixel, pixel + length);
      pixel += length;
    }
    return pixels;
  };

  const VOID = 255;
  const isObject = (id) => id !== 0 && id !== VOID;

  // a colour for each pixel, and a white outline where it changes; `paint(i)` gives a key, 0 for nothing
  const picture = (width, height, paint, colours, opacity) => {
    const image = new ImageData(width, height);
    const keys = new Uint8Array(width * height).map((_, i) => paint(i));
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const key = keys[i];
        const edge = (x > 0 && keys[i - 1] !== key) || (y > 0 && keys[i - width] !== key);
        if (!key && !edge) continue;
        if (edge) image.data.set([255, 255, 255, 235], 4 * i);
        else image.data.set([...colours[key], Math.round(255 * opacity)], 4 * i);
      }
    }
    return image;
  };

  // what a result has right, has missed and has too much
  const DIFFERENCE = { 1: [38, 166, 154], 2: [255, 152, 0], 3: [233, 30, 120] };
  const difference = (truth, result, byId) => (i) => {
    const t = isObject(truth[i]);
    const r = isObject(result[i]);
    if (truth[i] === VOID || (!t && !r)) return 0;
    if (t && r) return byId && truth[i] !== result[i] ? 3 : 1;
    return t ? 2 : 3;
  };

  return { bytes, decode, isObject, picture, difference, DIFFERENCE };
})();
