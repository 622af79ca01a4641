// The affinity of a point to the positions of another frame: softmax of the scores from the features in the page.
"use strict";
const affinity = (() => {
  const cellAt = (grid, x, y) => {
    const limit = (value, count) => Math.min(Math.max(Math.round(value), 0), count - 1);
    const row = limit((y - grid.top) / grid.down, grid.rows);
    return row * grid.columns + limit((x - grid.left) / grid.right, grid.columns);
  };

  const open = (features) => {
    const signed = (text) => new Int8Array(masks.bytes(text).buffer);
    const dims = features.weights.length;
    const codes = features.codes.map(signed);
    return {
      ...features,
      // shares of a cell of one frame over the cells of another; they add up to 1
      shares: (from, cell, to) => {
        const query = features.weights.map((weight, k) => weight * codes[from][cell * dims + k]);
        const scores = new Float64Array(features.grid.rows * features.grid.columns);
        for (let i = 0; i < scores.length; i++) {
          for (let k = 0; k < dims; k++) scores[i] += query[k] * codes[to][i * dims + k];
        }
        const highest = scores.reduce((a, b) => Math.max(a, b));
        const odds = scores.map((score) => Math.exp(score - highest));
        const sum = odds.reduce((a, b) => a + b);
        return odds.map((value) => value / sum);
      },
    };
  };

  // heat over a picture: the brighter, the more alike, up to the maximum of the map
  const draw = (context, grid, shares) => {
    const { width, height } = context.canvas;
    const small = new OffscreenCanvas(grid.columns, grid.rows);
    const heat = new ImageData(grid.columns, grid.rows);
    const highest = shares.reduce((a, b) => Math.max(a, b));
    shares.forEach((share, i) => heat.data.set([255, 128, 0, (255 * share) / highest], 4 * i));
    small.getContext("2d").putImageData(heat, 0, 0);
    context.drawImage(
      small,
      (grid.left - grid.right / 2) * width, (grid.top - grid.down / 2) * height,
      grid.columns * grid.right * width, grid.rows * grid.down * height,
    );
  };

  const mark = (context, x, y) => {
    const { width, height } = context.canvas;
    for (const [size, colour] of [[4, "#000"], [2, "#fff"]]) {
      context.beginPath();
      context.arc(x * width, y * height, 7, 0, 2 * Math.PI);
      context.lineWidth = size;
      context.strokeStyle = colour;
      context.stroke();
    }
  };

  return { cellAt, open, draw, mark };
})();
