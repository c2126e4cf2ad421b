// What scrolls sideways can be reached by the keyboard; the theme's search dialog and code bars get names; the results table can be filtered.

function makeScrollersFocusable() {
  for (const box of document.querySelectorAll(".formula, .md-typeset__scrollwrap, .md-typeset pre > code, pre.docstring")) {
    if (box.scrollWidth > box.clientWidth + 1) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}

function filterResults() {
  const table = document.querySelector("table#results");
  const form = document.querySelector("form#filters");
  if (!table || !form) return;
  const rows = [...table.tBodies[0].rows];
  const count = form.querySelector("output");
  const fill = (select, values) => {
    for (const value of [...new Set(values)]) select.add(new Option(value, value));
  };
  for (const key of ["paper", "preset", "kind", "verdict"]) fill(form.elements[key], rows.map((row) => row.dataset[key]));

  const apply = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        ["paper", "preset", "kind", "verdict"].every((key) => [" ", row.dataset[key]].includes(form.elements[key].value || " ")) &&
        words.every((word) => text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
}

function nameCodeBars() {
  document.querySelectorAll(".md-code__nav").forEach((bar, i) => bar.setAttribute("aria-label", `Code block ${i + 1}`));
}

function nameSearchDialog() {
  document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search");
}

document.addEventListener("DOMContentLoaded", nameSearchDialog);
document.addEventListener("DOMContentLoaded", filterResults);
window.addEventListener("load", () => {
  nameCodeBars();
  makeScrollersFocusable();
});
window.addEventListener("resize", makeScrollersFocusable);
