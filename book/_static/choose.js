/* The decision tree of the chapter "Which method for my data?". No library, no network.

   <div class="nlmeta-play nlmeta-choose" data-tree="...">what is read without a script</div>: the tree
   is JSON that the chapter computes from the records. A node is {asks, answers: [{says, then}]}; a
   leaf is {take, why, rows: [{where, text, verdict}]}. Questions are radio buttons of the browser's
   own, so that the keyboard works. */
(function () {
  "use strict";

  let made = 0;

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    Object.entries(attributes || {}).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...children);
    return element;
  }

  function leafOf(leaf) {
    const body = leaf.rows.map((row) =>
      make("li", {}, `${row.where}: ${row.text}. `, make("em", {}, row.verdict)));
    return [
      make("p", { class: "nlmeta-head" }, "Take ", make("strong", {}, leaf.take), `. ${leaf.why}`),
      make("details", {}, make("summary", {}, `The evidence: ${leaf.rows.length} comparisons`),
        make("ul", {}, ...body)),
    ];
  }

  function figure(place) {
    const tree = JSON.parse(place.dataset.tree);
    const questions = make("div", {});
    const result = make("div", { class: "nlmeta-result", "aria-live": "polite" });

    function ask(node, depth) {
      while (questions.children.length > depth) questions.lastElementChild.remove();
      result.replaceChildren();
      if (node.take) {
        result.append(...leafOf(node));
        return;
      }
      const group = `nlmeta-choose-${(made += 1)}`;
      const row = make("fieldset", { class: "nlmeta-choice" }, make("legend", {}, node.asks));
      node.answers.forEach((answer) => {
        const radio = make("input", { type: "radio", name: group, autocomplete: "off" });
        radio.addEventListener("change", () => ask(answer.then, depth + 1));
        row.append(make("label", {}, radio, ` ${answer.says}`));
      });
      questions.append(row);
    }

    place.replaceChildren(
      make("p", { class: "nlmeta-head" },
        make("strong", {}, "Which method?"), " Answer, and a recommendation appears below."),
      questions, result,
    );
    place.classList.add("nlmeta-card-of-play");
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Which method?");
    ask(tree, 0);
  }

  function start() {
    document.querySelectorAll(".nlmeta-choose[data-tree]").forEach(figure);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
