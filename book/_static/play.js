/* Figures that compute in the page from what the reader drags. No library, no network.

   <div class="nlmeta-play" data-play="NAME">what is read without a script</div> becomes the figure
   of that name below. Everything is a button, a slider or a choice of the browser's own, so that the
   keyboard works; pictures are SVG in the theme's colours. Numbers come from play_maths.js. */
(function () {
  "use strict";

  const M = window.nlmetaMaths;
  const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  /* elements */

  const SVG = "http://www.w3.org/2000/svg";

  function make(tag, attributes, ...children) {
    const svg = tag.startsWith("svg:");
    const element = svg ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    Object.entries(attributes || {}).forEach(([name, value]) => {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(name, value);
    });
    element.append(...children);
    return element;
  }

  let made = 0;
  const fresh = () => `nlmeta-play-${(made += 1)}`;

  /* A slider with its name before it and its value after it; `write` says the value in words. */
  function slider(name, { min, max, step, value, write, change }) {
    const id = fresh();
    const output = make("output", { for: id });
    const input = make("input", {
      id, type: "range", min, max, step, value, autocomplete: "off",
      oninput: () => show(true),
    });
    function show(tell) {
      const text = write(Number(input.value));
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
      if (tell) change();
    }
    show(false);
    const row = make("p", { class: "nlmeta-row" }, make("label", { for: id }, name), input, output);
    return {
      row,
      get value() { return Number(input.value); },
      set value(next) { input.value = next; show(true); },
    };
  }

  /* A choice of one among a few, as radio buttons. */
  function choice(name, options, start, change) {
    const group = fresh();
    let chosen = start;
    const row = make("fieldset", { class: "nlmeta-choice" }, make("legend", {}, name));
    options.forEach((text, k) => {
      const radio = make("input", {
        type: "radio", name: group, value: k, autocomplete: "off",
        onchange: () => { chosen = k; change(); },
      });
      radio.checked = k === start;
      row.append(make("label", {}, radio, ` ${text}`));
    });
    return { row, get value() { return chosen; } };
  }

  const button = (text, click) =>
    make("button", { type: "button", class: "nlmeta-button", onclick: click }, text);

  /* The frame of a figure: what it asks, the drawing, the controls, and a line that says the result
     aloud when it changes. */
  function card(place, { title, asks, controls, drawing, note }) {
    const says = make("p", { class: "nlmeta-result", "aria-live": "polite" });
    place.replaceChildren(
      make("p", { class: "nlmeta-head" }, make("strong", {}, title), ` ${asks}`),
      ...drawing, ...controls, says,
      ...(note ? [make("p", { class: "nlmeta-small" }, note)] : []),
    );
    place.classList.add("nlmeta-card-of-play");
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", title);
    return says;
  }

  /* figures */

  const figures = {};

  /* Front page: the labels of sixteen digits, epoch by epoch. */
  figures.sixteen = function (place) {
    const data = window.nlmetaSixteen.labels;
    const tiles = [...place.querySelectorAll(".nlmeta-tile")];
    const last = data.mended.length - 1;
    let timer = null;

    function show() {
      const k = epoch.value;
      tiles.forEach((tile, i) => {
        const says = data.says[i][k];
        const right = says === data.true[i];
        tile.classList.toggle("nlmeta-lies", !right);
        tile.classList.toggle("nlmeta-mended", right && data.given[i] !== data.true[i]);
        tile.querySelector(".nlmeta-says").textContent = says;
      });
      result.textContent =
        `Of ${data.wrong} wrong labels ${data.mended[k]} are right now; of ` +
        `${data.samples - data.wrong} right ones ${data.spoilt[k]} are wrong.`;
    }
    function stop() {
      window.clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    }
    function start() {
      if (timer !== null) return stop();
      if (still()) { epoch.value = epoch.value < last ? last : 0; return undefined; }
      if (epoch.value >= last) epoch.value = 0;
      play.textContent = "Pause";
      timer = window.setInterval(() => {
        epoch.value += 1;
        if (epoch.value >= last) stop();
      }, 350);
      return undefined;
    }
    const play = button("Play", start);
    const epoch = slider("epoch", {
      min: 0, max: last, step: 1, value: 0, change: show, write: (k) => String(data.start + k),
    });
    const result = make("p", { class: "nlmeta-result" });
    epoch.row.prepend(play);
    place.querySelector(".nlmeta-still").replaceWith(epoch.row, result);
    show();
  };

  /* A drawing with axes; `layer` is emptied and drawn anew at each change. */
  function plot({ width = 400, height = 240, x, y, xLabel, yLabel, label, ticks = 5 }) {
    const [left, right, top, bottom] = [56, 14, 10, 40];
    const X = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (width - left - right);
    const Y = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0])) * (height - top - bottom);
    const layer = make("svg:g");
    const axes = make("svg:g", { class: "nlmeta-axes" });
    const round = (v) => String(Math.round(v * 100) / 100);
    for (let k = 0; k <= ticks; k += 1) {
      const [u, v] = [x, y].map(([low, high]) => low + (k / ticks) * (high - low));
      axes.append(
        make("svg:text", { x: X(u), y: height - bottom + 16, "text-anchor": "middle" }, round(u)),
        make("svg:text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, round(v)),
      );
    }
    axes.append(
      make("svg:path", { d: `M${left},${top}V${height - bottom}H${width - right}` }),
      make("svg:text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, xLabel),
      make("svg:text", {
        x: 12, y: height / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${height / 2})`,
      }, yLabel),
    );
    const svg = make("svg:svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "nlmeta-plot",
    }, axes, layer);
    const add = (tag, attributes, ...text) => layer.append(make(`svg:${tag}`, attributes, ...text));
    return {
      svg, X, Y,
      clear: () => layer.replaceChildren(),
      line: (points, kind) => add("path", {
        d: points.map(([u, v], k) => `${k ? "L" : "M"}${X(u).toFixed(2)},${Y(v).toFixed(2)}`).join(""),
        class: `nlmeta-line ${kind}`,
      }),
      dot: (u, v, kind, r = 5) => add("circle", { cx: X(u), cy: Y(v), r, class: `nlmeta-dot ${kind}` }),
      text: (u, v, text, kind = "", dx = 6, dy = -6) =>
        add("text", { x: X(u) + dx, y: Y(v) + dy, class: kind }, text),
      arrow(from, to, kind) {
        const [a, b, c, d] = [X(from[0]), Y(from[1]), X(to[0]), Y(to[1])];
        const length = Math.hypot(c - a, d - b);
        if (length < 2) return;
        const [ux, uy] = [(c - a) / length, (d - b) / length];
        const size = Math.min(9, length / 2);
        const head = [1, -1].map((side) =>
          `${c - size * ux + (side * size * uy) / 2},${d - size * uy - (side * size * ux) / 2}`);
        add("path", { d: `M${a},${b}L${c},${d}`, class: `nlmeta-line ${kind}` });
        add("path", { d: `M${c},${d}L${head[0]}L${head[1]}Z`, class: `nlmeta-head-of ${kind}` });
      },
    };
  }

  const range = (low, high, count) =>
    Array.from({ length: count + 1 }, (_, k) => low + ((high - low) * k) / count);
  const signed = (value, digits = 3) =>
    `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

  /* Chapter 1: one step size against the two losses after the step. */
  figures.step = function (place) {
    const MOST = 12;
    const equal = M.SIX.points.map(() => 1 / 6);
    const right = M.SIX.given.map((y, b) => (b === M.SIX.wrong ? 1 - y : y));
    const drawing = plot({
      x: [0, MOST], y: [0, 2.4], xLabel: "step size", yLabel: "loss after the step", ticks: 4,
      label: "The training loss and the clean loss after one step, against the size of the step.",
    });
    function show() {
      const labels = label.value === 0 ? M.SIX.given : right;
      const at = (lr) => M.step(equal, lr, labels);
      drawing.clear();
      const sizes = range(0, MOST, 120);
      drawing.line(sizes.map((lr) => [lr, at(lr).training]), "nlmeta-a");
      drawing.line(sizes.map((lr) => [lr, at(lr).clean]), "nlmeta-b");
      drawing.line([[size.value, 0], [size.value, 2.4]], "nlmeta-guide");
      const here = at(size.value);
      drawing.dot(size.value, here.training, "nlmeta-a");
      drawing.dot(size.value, here.clean, "nlmeta-b");
      drawing.text(9, at(9).training, "the six", "nlmeta-end", -8, -8);
      drawing.text(MOST, at(MOST).clean, "the clean one", "nlmeta-end", -4, -8);
      const best = M.bestStep(labels, MOST);
      result.textContent =
        `After a step of ${size.value.toFixed(1)} the mean loss of the six is ` +
        `${here.training.toFixed(3)}, the loss of the clean one ${here.clean.toFixed(3)}. ` +
        (best > MOST - 0.01
          ? "The longer the step, the better for both."
          : `The six are best served by ${best.toFixed(1)}; a longer step harms them, ` +
            "and helps the clean one.");
    }
    const size = slider("step size", {
      min: 0, max: MOST, step: 0.1, value: 1.5, change: show, write: (v) => v.toFixed(1),
    });
    const label = choice("the label of sample 3", ["as given (wrong)", "put right"], 0, show);
    const result = card(place, {
      title: "Ask before you step.",
      asks: "Six training samples, one of them mislabelled, pull a network of two parameters. " +
        "Guess first: which step is best for the six, and which for the clean sample?",
      drawing: [drawing.svg], controls: [size.row, label.row],
    });
    show();
  };

  /* Chapter 4: the weight of one sample, in the figure of the arrows. */
  figures.weight = function (place) {
    const LR = 1.5;
    const even = 1 / 6;
    const drawing = plot({
      x: [-0.3, 1.5], y: [-0.5, 1.1], xLabel: "θ₁", yLabel: "θ₂", height: 320, ticks: 4,
      label: "What each sample adds to one step, as arrows laid end to end over the clean loss.",
    });
    function show() {
      const b = sample.value;
      const weights = M.SIX.points.map((_, k) => (k === b ? weight.value : even));
      const now = M.step(weights, LR);
      const before = M.step(M.SIX.points.map(() => even), LR);
      drawing.clear();
      [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8].forEach((loss) => {
        const c = -Math.log(Math.expm1(loss)); // where softplus(-c) is this loss
        const ends = [Math.max(-0.3, c - 1.1), Math.min(1.5, c + 0.5)];
        drawing.line(ends.map((u) => [u, c - u]), "nlmeta-guide");
        drawing.text(ends[0], c - ends[0], loss.toFixed(1), "nlmeta-muted", 10, 3);
      });
      let from = [0, 0];
      [0, 1, 3, 4, 5, 2].forEach((k) => {
        const to = from.map((value, i) => value + now.arrows[k][i]);
        const kind = k === M.SIX.wrong ? "nlmeta-wrong" : "nlmeta-right";
        drawing.arrow(from, to, k === b ? `${kind} nlmeta-chosen` : kind);
        const beside = k === 5 ? [6, -6] : [6, 12]; // the arrow of 3 is below that of 6
        drawing.text((from[0] + to[0]) / 2, (from[1] + to[1]) / 2, k + 1, kind, ...beside);
        from = to;
      });
      drawing.dot(0, 0, "", 4);
      drawing.dot(now.theta[0], now.theta[1], "", 4);
      const foretold = before.clean + before.gradient[b] * (weight.value - even);
      result.textContent =
        `Clean loss after the step: ${now.clean.toFixed(3)}; with equal weights ` +
        `${before.clean.toFixed(3)}. The derivative by this weight, ` +
        `${signed(before.gradient[b])}, foretold ${foretold.toFixed(3)}.`;
    }
    const sample = choice("sample", ["1", "2", "3 (wrong label)", "4", "5", "6"], 2, show);
    const weight = slider("its weight", {
      min: 0, max: 0.5, step: 1 / 60, value: even, change: show, write: (v) => v.toFixed(2),
    });
    const result = card(place, {
      title: "Turn the weight of one sample.",
      asks: "The other five keep 1/6. Guess first: how low can the weight of one sample bring the clean loss?",
      drawing: [drawing.svg], controls: [sample.row, weight.row],
    });
    show();
  };

  /* Chapter 8: T, and the labels of a batch that it explains away. */
  figures.explain = function (place) {
    const BATCH = [[0.95, 1], [0.9, 0], [0.8, 1], [0.7, 0], [0.6, 1], [0.3, 1], [0.15, 1], [0.05, 1]];
    const drawing = plot({
      x: [0, 1], y: [0, 1], height: 250, ticks: 4, xLabel: "network: probability of class 0",
      yLabel: "pulled towards", label: "For each sample, the belief of the network and what it is pulled to.",
    });
    function show() {
      drawing.clear();
      drawing.line([[0, 0], [1, 1]], "nlmeta-guide");
      let loss = 0;
      let away = 0;
      let doubtful = 0;
      BATCH.forEach(([belief, given]) => {
        const now = M.corrected(belief, given, share.value, 0);
        loss += now.loss / BATCH.length;
        const against = given === 1 && belief > 0.5;
        doubtful += against;
        away += against && now.r[0] > 0.5;
        const kind = against ? "nlmeta-wrong" : "nlmeta-right";
        drawing.arrow([belief, belief], [belief, now.r[0]], kind);
        drawing.dot(belief, now.r[0], kind);
        drawing.text(belief, now.r[0], given, kind, 7, 4);
      });
      result.textContent =
        `Of ${doubtful} samples that the network takes for class 0 and that are labelled 1, ` +
        `${away} are explained away. Mean loss of the batch: ${loss.toFixed(3)}.`;
    }
    const share = slider("T₀₁: share of class 0 that is called 1", {
      min: 0, max: 0.9, step: 0.01, value: 0, change: show, write: (v) => v.toFixed(2),
    });
    const result = card(place, {
      title: "A batch of eight behind T.",
      asks: "Each number is a label; its arrow leads from what the network believes to what it is " +
        "pulled to, the posterior r. Guess first: which labels does a T of 0.3 explain away?",
      drawing: [drawing.svg], controls: [share.row],
      note: "Class 1 is always labelled right here. On the dotted line a label no longer pulls.",
    });
    show();
  };

  /* Chapter 9: one soft label, step by step. */
  figures.row = function (place) {
    const STEPS = 60;
    const NAMES = ["class 0, the clean image's", "class 1, the given label", "class 2"];
    const KINDS = ["nlmeta-right", "nlmeta-wrong", "nlmeta-guide nlmeta-dark"];
    const drawing = plot({
      x: [0, STEPS], y: [0, 1], xLabel: "steps", yLabel: "soft label", ticks: 4,
      label: "The three entries of one soft label, after each step of MSLG.",
    });
    function show() {
      const { rows } = M.labelRow(1, like.value, { k: sure.value, steps: STEPS });
      drawing.clear();
      [0, 1, 2].forEach((c) => {
        drawing.line(rows.map((row, n) => [n, row[c]]), KINDS[c]);
        drawing.dot(at.value, rows[at.value][c], KINDS[c]);
      });
      drawing.line([[at.value, 0], [at.value, 1]], "nlmeta-guide");
      result.textContent = `After ${at.value} steps: ` +
        NAMES.map((name, c) => `${name} ${rows[at.value][c].toFixed(3)}`).join("; ") + ".";
    }
    const two = (v) => v.toFixed(1);
    const like = slider("likeness to the clean image", {
      min: -1, max: 1, step: 0.1, value: 0.8, change: show, write: two,
    });
    const sure = slider("K", { min: 1, max: 10, step: 0.5, value: 5, change: show, write: two });
    const at = slider("steps", { min: 0, max: STEPS, step: 1, value: 20, change: show, write: String });
    const result = card(place, {
      title: "A label that moves.",
      asks: "A training image is labelled 1, and one clean image is of class 0. Guess first: what " +
        "becomes of the label if the two images have nothing in common?",
      drawing: [drawing.svg], controls: [like.row, sure.row, at.row],
      note: "Formulas (9.2) to (9.5) for a linear model with weights zero, α = 1 and β = 1; likeness " +
        "is the inner product of the two images. Orange: given label; violet: class of the clean one.",
    });
    show();
  };

  /* Chapter 7: how many inner steps stand behind the arrow. */
  figures.inner = function (place) {
    const KS = [1, 5, 50, Infinity];
    const name = (K) => (K === Infinity ? "∞" : String(K));
    const drawing = plot({
      x: [0, 2], y: [0, 8], xLabel: "θ₁ (steep)", yLabel: "θ₂ (flat)", height: 320, ticks: 4,
      label: "Where 1, 5, 50 and infinitely many inner steps end, and which way each end moves with φ.",
    });
    function show() {
      const problem = { curvatures: [1, flat.value], d: [1, 4], c: [0.5, 3], lr: 0.9 };
      const ends = KS.map((K) => M.innerSteps(K, phi.value, problem));
      drawing.clear();
      drawing.line(range(0, 120, 120).map((K) => M.innerSteps(K, phi.value, problem).theta), "nlmeta-guide");
      drawing.dot(problem.c[0], problem.c[1], "nlmeta-b", 7);
      drawing.text(problem.c[0], problem.c[1], "clean optimum", "", -60, -12);
      ends.forEach(({ theta, arrow, gradient }, k) => {
        const kind = gradient > 0 ? "nlmeta-wrong" : "nlmeta-right";
        drawing.arrow(theta, theta.map((value, i) => value + 0.3 * arrow[i]), kind);
        drawing.dot(theta[0], theta[1], kind);
        const beside = { 0: [-16, -6], 3: [-20, -4] }[k] || [8, 14]; // clear of axis and arrows
        drawing.text(theta[0], theta[1], name(KS[k]), kind, ...beside);
      });
      const signs = ends.map(({ gradient }, k) => `${name(KS[k])} step${k ? "s" : ""} ${signed(gradient, 2)}`);
      const turned = Math.sign(ends[0].gradient) !== Math.sign(ends[3].gradient);
      result.textContent = `Derivative of the clean loss by φ: ${signs.join(", ")}. ` +
        (turned ? "One step says the opposite of training to the end." : "One step has the right sign.");
    }
    const phi = slider("φ", {
      min: 0.1, max: 1.4, step: 0.05, value: 1, change: show, write: (v) => v.toFixed(2),
    });
    const flat = slider("curvature of the flat direction", {
      min: 0.01, max: 1, step: 0.01, value: 0.05, change: show, write: (v) => v.toFixed(2),
    });
    const result = card(place, {
      title: "One step, or many?",
      asks: "Gradient steps of 0.9 on a quadratic lead from (0, 0) along the dotted path. Guess " +
        "first: can one step and the end of the path disagree about the direction in which to turn φ?",
      drawing: [drawing.svg], controls: [phi.row, flat.row],
      note: "Inner loss ½(θ − φd)ᵀA(θ − φd) with d = (1, 4), A diagonal with 1 and the curvature of " +
        "the slider; clean loss ½|θ − (0.5, 3)|². Each arrow shows where its end would move if φ grew; " +
        "orange where the clean loss would grow.",
    });
    show();
  };

  /* Chapter 14: sixteen suspects, to be judged before the truth is shown. */
  figures.suspects = function (place) {
    const data = window.nlmetaSixteen.suspects;
    const said = data.given.map(() => false);
    let over = false;
    const shade = (pixels, size) => {
      const svg = make("svg:svg", { viewBox: "0 0 8 8", class: "nlmeta-digit", "aria-hidden": "true" });
      [...pixels].forEach((pixel, k) => {
        const ink = parseInt(pixel, 17) / 16;
        if (ink) svg.append(make("svg:rect", {
          x: k % 8, y: Math.floor(k / 8), width: size, height: size, "fill-opacity": ink,
        }));
      });
      return svg;
    };
    const tiles = data.pictures.map((pixels, i) => {
      const word = make("span", { class: "nlmeta-says" }, String(data.given[i]));
      const tile = make("button", {
        type: "button", class: "nlmeta-tile", "aria-pressed": "false",
        "aria-label": `Digit ${i + 1}, labelled ${data.given[i]}: wrong?`,
        onclick: () => {
          if (over) return;
          said[i] = !said[i];
          tile.setAttribute("aria-pressed", said[i]);
          count();
        },
      }, shade(pixels, 1.02), word);
      return tile;
    });
    function count() {
      result.textContent = `You call ${said.filter(Boolean).length} of 16 labels wrong.`;
    }
    function reveal() {
      over = true;
      tiles.forEach((tile, i) => {
        const wrong = data.given[i] !== data.true[i];
        tile.classList.add(wrong ? "nlmeta-lies" : "nlmeta-mended");
        tile.querySelector(".nlmeta-says").textContent =
          wrong ? `${data.given[i]} → ${data.true[i]}` : `${data.given[i]} ✓`;
        tile.setAttribute("aria-label", `Digit ${i + 1}, labelled ${data.given[i]}: ` +
          `${wrong ? `wrong, it is ${data.true[i]}` : "right"}; you said ${said[i] ? "wrong" : "right"}`);
      });
      const machine = data.predicted.map((label, i) => label !== data.given[i]);
      result.textContent = `You judged ${M.verdicts(said, data.given, data.true)} of 16 rightly. ` +
        `The classifier that made the list calls ${machine.filter(Boolean).length} of them wrong, ` +
        `which is right for ${M.verdicts(machine, data.given, data.true)}.`;
      done.disabled = true;
    }
    const done = button("Show the truth", reveal);
    const grid = make("div", { class: "nlmeta-suspects" }, ...tiles);
    const result = card(place, {
      title: "Be the person.",
      asks: "Sixteen doubtful digits with their labels. Press those whose label you think is wrong.",
      drawing: [grid], controls: [make("p", { class: "nlmeta-row" }, done)],
    });
    count();
  };

  function start() {
    document.querySelectorAll(".nlmeta-play[data-play]").forEach((place) => {
      const figure = figures[place.dataset.play];
      if (figure) figure(place);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
