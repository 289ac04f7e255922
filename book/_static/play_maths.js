/* What the figures of play.js compute, apart from how they are drawn.

   Plain functions of numbers and arrays. tests/test_play.py runs each in a browser and compares it
   with the same in Python, in float64. Chapter and equation stand beside each. */
(function () {
  "use strict";

  const sigmoid = (s) => 1 / (1 + Math.exp(-s));
  const softplus = (s) => Math.max(s, 0) + Math.log1p(Math.exp(-Math.abs(s)));
  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const softmax = (z) => {
    const top = Math.max(...z);
    const e = z.map((value) => Math.exp(value - top));
    const total = sum(e);
    return e.map((value) => value / total);
  };

  /* Chapters 1 and 4: six samples in the plane, the third with a wrong label, and a clean one. */
  const SIX = {
    points: [[2, 0], [1, 2], [2, 1], [-1, -2], [-2, -1], [1, -1]],
    given: [1, 1, 0, 0, 0, 1],
    wrong: 2,
    clean: [1, 1],
  };

  /* The step of size lr from theta = 0, where each p is 1/2, equation (4.1). Label 1 is clean. */
  function step(weights, lr, labels) {
    const y = labels || SIX.given;
    const arrows = SIX.points.map((x, b) => x.map((c) => lr * weights[b] * (y[b] - 0.5) * c));
    const theta = [0, 1].map((k) => sum(arrows.map((arrow) => arrow[k])));
    const score = dot(theta, SIX.clean);
    const v = SIX.clean.map((c) => (sigmoid(score) - 1) * c); // (4.2)
    // Minus lr times the inner product of a sample's gradient and v, for all six
    const gradient = SIX.points.map((x, b) => -lr * (0.5 - y[b]) * dot(x, v));
    const losses = SIX.points.map((x, b) => softplus((1 - 2 * y[b]) * dot(theta, x)));
    return { arrows, theta, clean: softplus(-score), gradient, losses, training: sum(losses) / 6 };
  }

  /* The step size after which the mean loss of the six is smallest; it is convex in the step. */
  function bestStep(labels, most) {
    const equal = SIX.points.map(() => 1 / 6);
    const loss = (lr) => step(equal, lr, labels).training;
    let low = 0;
    let high = most;
    for (let k = 0; k < 200; k += 1) {
      const left = low + (high - low) / 3;
      const right = high - (high - low) / 3;
      if (loss(left) < loss(right)) high = right;
      else low = left;
    }
    return (low + high) / 2;
  }

  /* Chapter 8, equation (8.1): a sample of two classes behind T = [[1 - a, a], [b, 1 - b]].
     belief is the network's probability of class 0. */
  function corrected(belief, label, a, b) {
    const p = [belief, 1 - belief];
    const T = [[1 - a, a], [b, 1 - b]];
    const q = p[0] * T[0][label] + p[1] * T[1][label];
    const r = p.map((value, i) => (value * T[i][label]) / q);
    return { q, r, loss: -Math.log(q), pull: p.map((value, i) => r[i] - value) };
  }

  /* Chapter 9, equations (9.2) to (9.5), for a linear model with weights zero and three classes: the
     soft label of one image, whose inner product with the clean image of class 0 is `likeness`.
     Returns the label before the first step and after each. */
  function labelRow(given, likeness, { k = 5, alpha = 1, beta = 1, steps = 60 } = {}) {
    let u = [0, 1, 2].map((c) => (c === given ? k : 0));
    const rows = [softmax(u)];
    const logits = [u];
    for (let n = 0; n < steps; n += 1) {
      const mean = sum(u) / 3;
      const atClean = softmax(u.map((value) => (alpha * likeness * (value - mean)) / 3)); // (9.2)
      const zDot = atClean.map((value, c) => likeness * (value - (c === 0 ? 1 : 0))); // (9.3)
      const centre = sum(zDot) / 3; // all predictions are 1/3
      u = u.map((value, c) => value - (beta * alpha * (zDot[c] - centre)) / 3); // (9.4), (9.5)
      rows.push(softmax(u));
      logits.push(u);
    }
    return { rows, logits };
  }

  /* Chapter 7: K gradient steps from 0 on the inner loss 1/2 (theta - phi d)' A (theta - phi d), with
     A diagonal, and the outer loss 1/2 |theta - c|^2. K may be Infinity. */
  function innerSteps(K, phi, { curvatures, d, c, lr }) {
    const reached = curvatures.map((a) => (K === Infinity ? 1 : 1 - (1 - lr * a) ** K));
    const arrow = d.map((value, i) => reached[i] * value); // d theta_K / d phi
    const theta = arrow.map((value) => phi * value);
    const away = theta.map((value, i) => value - c[i]);
    return { theta, arrow, outer: dot(away, away) / 2, gradient: dot(away, arrow) };
  }

  /* Chapter 14: how many of some verdicts ("is the label wrong?") agree with the truth. */
  function verdicts(said, given, truth) {
    return said.filter((wrong, i) => wrong === (given[i] !== truth[i])).length;
  }

  window.nlmetaMaths = {
    SIX, sigmoid, softplus, softmax, step, bestStep, corrected, labelRow, innerSteps, verdicts,
  };
})();
