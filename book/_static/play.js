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

  function start() {
    document.querySelectorAll(".nlmeta-play[data-play]").forEach((place) => {
      const figure = figures[place.dataset.play];
      if (figure) figure(place);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
