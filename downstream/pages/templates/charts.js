// Charts by uPlot: each <figure class="chart"> holds its series as JSON; they are drawn when they come into view.
"use strict";
const charts = (() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const FONT = "11px system-ui, sans-serif";
  const WHOLE = [1, 2, 5].flatMap((unit) => [0, 1, 2, 3, 4, 5, 6].map((power) => unit * 10 ** power)).sort((a, b) => a - b);
  const drawn = new Map(); // element -> { plot, spec, more }

  // a tick's label with all digits that it needs and no more
  const label = (value) => (value === null || value === undefined ? "" : String(Number(value.toPrecision(6))));

  // an axis is as wide as its longest label
  const sizeOf = (plot, values) => {
    plot.ctx.save();
    plot.ctx.font = FONT;
    const widths = (values ?? [""]).map((text) => plot.ctx.measureText(text).width);
    plot.ctx.restore();
    return Math.ceil(Math.max(...widths)) + 14;
  };

  const axis = (title) => ({
    stroke: style("--soft"), font: FONT, grid: { stroke: style("--rule"), width: 1 }, ticks: { show: false },
    values: (_, splits) => splits.map(label),
    ...(title ? { label: title, labelFont: FONT, labelSize: 18, labelGap: 2 } : {}),
  });

  const marksOf = (spec) => (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = style("--soft");
    ctx.setLineDash([4, 4]);
    for (const mark of spec.marks ?? []) {
      const x = plot.valToPos(mark, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };

  const seriesOf = (entry) => {
    const colour = style(entry.colour);
    const digits = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
    return {
      label: entry.label, stroke: colour, width: entry.width ?? 2, dash: entry.dash, show: entry.show ?? true,
      alpha: entry.alpha ?? 1, value: (_, value) => digits(value), spanGaps: false,
      ...(entry.dots ? { paths: () => null } : {}),
      points: { show: Boolean(entry.dots || entry.marked), size: entry.dots ? 8 : 6, fill: colour, stroke: colour },
    };
  };

  // Draws a chart into an element; `more` are further options of uPlot.
  const draw = (target, spec, more = {}) => {
    const width = target.clientWidth;
    const first = { label: spec.across, value: (_, value, __, at) => (at === null ? "–" : spec.names?.[at] ?? label(value)) };
    const plot = new uPlot(
      {
        width, height: spec.height ?? 180,
        padding: [10, 12, 0, 0],
        scales: {
          x: { time: false, range: spec.across_range ? () => spec.across_range : undefined },
          y: { range: spec.range ? () => spec.range : undefined },
        },
        axes: [{ ...axis(spec.across_title), size: spec.across_title ? 46 : 28, space: 60, incrs: spec.whole ? WHOLE : undefined }, { ...axis(), size: sizeOf, space: 32 }],
        series: [first, ...spec.series.map(seriesOf)],
        cursor: { drag: { x: false, y: false }, ...more.cursor },
        legend: { live: true },
        hooks: { drawAxes: [marksOf(spec)], ...more.hooks },
      },
      [spec.x, ...spec.series.map((entry) => entry.y)],
      target,
    );
    drawn.set(target, { plot, spec, more });
    return plot;
  };

  const redraw = (target) => {
    const { plot, spec, more } = drawn.get(target);
    plot.destroy();
    const anew = draw(target, spec, more);
    more.redrawn?.(anew);
  };

  const widths = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const found = drawn.get(target);
      if (found && target.clientWidth && found.plot.width !== target.clientWidth) {
        found.plot.setSize({ width: target.clientWidth, height: found.spec.height ?? 180 });
      }
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...drawn.keys()].forEach(redraw));

  // Calls `work(element)` once, when the element is about to come into view.
  const soon = (element, work) => {
    const watch = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        watch.disconnect();
        work(element);
      },
      { rootMargin: "600px" },
    );
    watch.observe(element);
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    soon(figure, () => {
      const target = figure.querySelector(".plot");
      draw(target, JSON.parse(figure.querySelector("script").textContent));
      widths.observe(target);
    });
  }
  return { draw, widths, soon, style };
})();
