/* A table that is wider than its box takes the focus, so that the arrow keys scroll it. The theme
   does this for code. */
(function () {
  "use strict";

  function look() {
    document.querySelectorAll(".bd-article table").forEach((table) => {
      const scrolls = /auto|scroll/.test(getComputedStyle(table).overflowX);
      if (scrolls && table.scrollWidth > table.clientWidth + 1) table.tabIndex = 0;
      else table.removeAttribute("tabindex");
    });
  }

  window.addEventListener("load", look);
  window.addEventListener("resize", look);
})();
