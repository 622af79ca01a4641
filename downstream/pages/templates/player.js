// Players: <section class="player"> with frames, masks, values and features as JSON. Each is opened when it comes into
// view. Its attribute `data-frame` tells the number of the frame that is shown.
"use strict";
(() => {
  const percent = (value) => (100 * value).toFixed(1);
  const COLOURS = ["--blue", "--orange", "--teal", "--violet", "--rose", "--olive"];

  const valuesOf = (result) => ["J", "F"].filter((name) => name in result.values).map((name) => [name, result.values[name]]);

  const open = (section) => {
    const $ = (selector) => section.querySelector(selector);
    const data = JSON.parse(section.querySelector(':scope > script[type="application/json"]').textContent);
    const { width, height, shown, names } = data;
    const truth = data.layers.find((layer) => layer.truth);
    const results = data.layers.filter((layer) => !layer.truth);
    const chosen = results.slice(0, 2);
    const state = { at: 0, view: results.length ? "result" : "truth", opacity: 0.45, timer: null };

    // --- frames and masks
    const images = new Map();
    const imageOf = (at) => {
      if (!images.has(at) && data.frames.length) {
        const image = new Image();
        image.src = `data:image/webp;base64,${data.frames[at]}`;
        image.addEventListener("load", () => at === state.at && render());
        images.set(at, image);
      }
      return images.get(at);
    };
    const drawFrame = (context, at) => {
      context.fillStyle = "#000";
      context.fillRect(0, 0, width, height);
      const image = imageOf(at);
      if (image?.complete && image.naturalWidth) context.drawImage(image, 0, 0, width, height);
    };
    const maskOf = (layer, at) => (layer?.masks[at] ? masks.decode(layer.masks[at], data.ids, width * height) : null);

    // the picture of a view over its frame, null where there is none
    const overlay = (result) => {
      const [t, r] = [maskOf(truth, state.at), maskOf(result, state.at)];
      const plain = (mask) => mask && [(i) => (masks.isObject(mask[i]) ? mask[i] : 0), data.colours];
      const found = {
        frame: () => null,
        truth: () => plain(t),
        result: () => plain(r),
        difference: () => t && r && [masks.difference(t, r, result.byId), masks.DIFFERENCE],
      }[state.view]();
      return found && masks.picture(width, height, ...found, state.opacity);
    };

    const panes = [...section.querySelectorAll(".pane")].map((pane, number) => ({
      pane, number, canvas: pane.querySelector("canvas"), values: pane.querySelector(".values"),
    }));
    const layerOver = new OffscreenCanvas(width, height);
    const captionOf = (result) => {
      if (state.view === "truth") return truth.masks[state.at] ? "" : "not annotated";
      if (state.view === "frame" || !result) return "";
      if (!result.masks[state.at]) return "no mask";
      if (state.view === "difference" && !truth.masks[state.at]) return "not annotated";
      return valuesOf(result)
        .filter(([, values]) => values[shown[state.at]] !== null)
        .map(([measure, values]) => `${measure} ${percent(values[shown[state.at]])}`)
        .join("  ");
    };
    const render = () => {
      for (const { pane, number, canvas, values } of panes) {
        pane.hidden = number > 0 && (state.view === "truth" || state.view === "frame"); // both would be the same
        if (pane.hidden) continue;
        const context = canvas.getContext("2d");
        drawFrame(context, state.at);
        const image = overlay(chosen[number]);
        if (image) {
          layerOver.getContext("2d").putImageData(image, 0, 0);
          context.drawImage(layerOver, 0, 0);
        }
        values.textContent = captionOf(chosen[number]);
      }
      $("output").textContent = `${shown[state.at] + 1} / ${names.length}  ·  ${names[shown[state.at]]}`;
      section.dataset.frame = shown[state.at];
      section.dataset.view = state.view;
      $(".legend").hidden = state.view !== "difference";
    };

    // --- the frame that is shown
    const scrub = $("input[name=frame]");
    const show = (at) => {
      state.at = Math.min(Math.max(at, 0), shown.length - 1);
      scrub.value = state.at;
      for (let ahead = 0; ahead < 4; ahead++) if (state.at + ahead < shown.length) imageOf(state.at + ahead);
      render();
      plot?.redraw(false, false);
    };
    const nearest = (frame, among = shown) =>
      among.reduce((best, each, at) => (Math.abs(each - frame) < Math.abs(among[best] - frame) ? at : best), 0);
    const play = (on) => {
      clearInterval(state.timer);
      const wait = ((1000 / data.fps) * names.length) / shown.length;
      state.timer = on ? setInterval(() => show((state.at + 1) % shown.length), wait) : null;
      $(".play").textContent = on ? "❚❚" : "▶";
      $(".play").setAttribute("aria-label", on ? "Pause" : "Play");
    };
    scrub.addEventListener("input", () => (play(false), show(Number(scrub.value))));
    $(".play").addEventListener("click", () => play(state.timer === null));
    $("input[name=opacity]").addEventListener("input", ({ target }) => {
      state.opacity = target.value / 100;
      render();
    });
    for (const button of section.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => {
        state.view = button.dataset.view;
        for (const other of section.querySelectorAll(".views button")) {
          other.setAttribute("aria-pressed", other === button);
        }
        render();
      });
    }
    for (const { pane, number } of panes) {
      pane.querySelector("select")?.addEventListener("change", ({ target }) => {
        chosen[number] = results[target.selectedIndex];
        render();
        if ($(".plot")) drawPlot();
      });
    }

    // --- J and F of each frame of the results that are shown; the curve moves the player and follows it
    const drawPlot = () => {
      plot?.destroy();
      const compared = [...new Set(chosen)];
      const series = compared.flatMap((result, number) =>
        valuesOf(result).map(([measure, y]) => ({
          label: compared.length > 1 ? `${measure} ${result.name}` : measure,
          y: y.map((value) => (value === null ? null : 100 * value)),
          colour: COLOURS[number % COLOURS.length],
          dash: measure === "J" ? undefined : [5, 4],
          width: measure === "J" ? 2 : 1.5,
          show: measure === "J" || compared.length === 1,
        })),
      );
      const spec = { x: names.map((_, frame) => frame), across: "frame", series, range: [0, 103], height: 170, whole: true };
      const line = ({ ctx, bbox, valToPos }) => {
        const x = valToPos(shown[state.at], "x", true);
        ctx.save();
        ctx.strokeStyle = charts.style("--ink");
        ctx.lineWidth = devicePixelRatio * 1.5;
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.restore();
      };
      const listen = (anew) => {
        const move = (event) => {
          play(false);
          show(nearest(anew.posToVal(event.clientX - anew.over.getBoundingClientRect().left, "x")));
        };
        anew.over.addEventListener("pointerdown", move);
        anew.over.addEventListener("pointermove", (event) => event.buttons && move(event));
      };
      const redrawn = (anew) => {
        plot = anew;
        listen(anew);
      };
      redrawn(charts.draw($(".plot"), spec, { hooks: { draw: [line] }, redrawn }));
      charts.widths.observe($(".plot"));
    };

    // --- affinity: a click asks, another frame answers
    const asked = { features: 0, from: 0, x: 0.5, y: 0.5 };
    const opened = new Map();
    const features = () => {
      if (!opened.has(asked.features)) opened.set(asked.features, affinity.open(data.features[asked.features]));
      return opened.get(asked.features);
    };
    const answer = async () => {
      const { frames, grid, shares } = features();
      const other = $("input[name=other]");
      const to = Number(other.value);
      const [left, right] = [$(".asked canvas"), $(".found canvas")].map((canvas) => canvas.getContext("2d"));
      const cell = affinity.cellAt(grid, asked.x, asked.y);
      for (const [context, k] of [[left, asked.from], [right, to]]) {
        await imageOf(nearest(frames[k]))?.decode().catch(() => {});
        drawFrame(context, nearest(frames[k]));
      }
      affinity.mark(left, asked.x, asked.y);
      right.fillStyle = "rgb(0 0 0 / 0.45)";
      right.fillRect(0, 0, width, height);
      const map = shares(asked.from, cell, to);
      affinity.draw(right, grid, map);
      $(".asked figcaption").textContent = `the point in frame ${names[frames[asked.from]]}`;
      $(".found figcaption").textContent =
        `its affinity in frame ${names[frames[to]]} (${features().name}); highest ${percent(Math.max(...map))} % of all`;
      const best = map.indexOf(Math.max(...map));
      $(".found").dataset.best = [best % grid.columns, Math.floor(best / grid.columns)];
    };
    const ask = (canvas, frame, event) => {
      const box = canvas.getBoundingClientRect();
      asked.x = (event.clientX - box.left) / box.width;
      asked.y = (event.clientY - box.top) / box.height;
      const { frames } = features();
      asked.from = nearest(frame, frames);
      const other = $("input[name=other]");
      other.max = frames.length - 1;
      if ($(".affinity").hidden) other.value = (asked.from + Math.ceil(frames.length / 3)) % frames.length;
      $(".affinity").hidden = false;
      answer();
    };
    const listenToClicks = () => {
      for (const canvas of section.querySelectorAll(".affinity canvas")) [canvas.width, canvas.height] = [width, height];
      for (const { canvas } of panes) {
        canvas.addEventListener("click", (event) => {
          play(false);
          ask(canvas, shown[state.at], event);
          show(nearest(features().frames[asked.from])); // features are of some frames only: show the one that is asked
        });
      }
      $(".asked canvas").addEventListener("click", (event) => ask($(".asked canvas"), features().frames[asked.from], event));
      $("input[name=other]").addEventListener("input", answer);
      $(".affinity select")?.addEventListener("change", ({ target }) => {
        const frame = features().frames[asked.from];
        asked.features = target.selectedIndex;
        asked.from = nearest(frame, features().frames);
        $("input[name=other]").max = features().frames.length - 1;
        answer();
      });
    };

    let plot = null;
    for (const { canvas } of panes) [canvas.width, canvas.height] = [width, height];
    if (data.features.length) listenToClicks();
    if ($(".plot")) drawPlot();
    show(0);
    return { show: (frame) => (play(false), show(nearest(frame))), names };
  };

  const players = new Map();
  const opened = (section) => {
    if (!players.has(section)) players.set(section, open(section));
    return players.get(section);
  };
  for (const section of document.querySelectorAll("section.player")) charts.soon(section, opened);

  // #sequence/frame leads to a frame of a player
  const follow = () => {
    const [, sequence, frame] = decodeURIComponent(location.hash).match(/^#(.+)\/([^/]+)$/) ?? [];
    const section = sequence && document.getElementById(sequence);
    if (!section) return;
    section.scrollIntoView();
    const player = opened(section);
    player.show(player.names.indexOf(frame));
  };
  addEventListener("hashchange", follow);
  follow();
})();
