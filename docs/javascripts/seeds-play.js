// One trajectory, many solvers, one Brownian path that a slider refines: the figure to play with of week 4.

import { drawPath, errors, fine, followed, grid, last, LAWS, SAMPLES, SOLVERS, STEPS } from "./seeds-path.js";

const FIRST = { law: "one", steps: 1, coupling: "same", seed: 1 };
// What the instructions on the page ask for, in their order: a button's name, and what it sets beside the first settings.
const TRIES = [
  ["8 steps", {}],
  ["32 steps", { steps: 3 }],
  ["Another path, 4 steps", { steps: 0, coupling: "own" }],
  ["Another path, 128 steps", { steps: 5, coupling: "own" }],
  ["Two modes, 8 steps", { law: "two", seed: 12 }],
  ["Two modes, 64 steps", { law: "two", steps: 4, seed: 12 }],
];
const LOOKS = {
  "SEEDS-1": { stroke: "var(--line-2)", dash: "", mark: "M-3,-3h6v6h-6z" },
  "SEEDS-2": { stroke: "var(--line-1)", dash: "6 4", mark: "M0,-4L4,0L0,4L-4,0z" },
  "SEEDS-3": { stroke: "var(--line-1)", dash: "", mark: "M0,-4L4,3H-4z" },
  "Euler–Maruyama": { stroke: "var(--md-default-fg-color--light)", dash: "2 3", mark: "M-3,-3L3,3M3,-3L-3,3" },
};

const WIDGET = `
  <form class="controls" aria-label="Settings of the path">
    <div><label for="s-law">Data</label><select id="s-law" name="law">
      ${Object.entries(LAWS).map(([key, { name }]) => `<option value="${key}">${name}</option>`).join("")}</select></div>
    <div><label for="s-coupling">The solvers see</label><select id="s-coupling" name="coupling">
      <option value="same">the path of the fine solution</option><option value="own">another path</option></select></div>
    <div><label for="s-steps">Steps <span class="value"></span></label>
      <input id="s-steps" name="steps" type="range" min="0" max="${STEPS.length - 1}" step="1"></div>
    <div><label for="s-seed">Path <span class="value"></span></label>
      <input id="s-seed" name="seed" type="range" min="1" max="20" step="1"></div>
  </form>
  <div class="controls" role="group" aria-label="Settings of the instructions">
    ${TRIES.map(([name], k) => `<div><button type="button" data-try="${k}">${name}</button></div>`).join("\n    ")}
  </div>
  <svg viewBox="0 0 720 640" role="img" aria-labelledby="s-title"><title id="s-title"></title><g></g></svg>
  <p role="status"></p>`;

const [LEFT, RIGHT, TOP, MIDDLE, UPPER, LOWER] = [58, 706, 34, 300, 366, 592];
const REACH = 3;

// Five decimal places at the most, and two digits at the least.
const number = (value) => (value >= 0.01 ? value.toFixed(3) : value.toPrecision(2));

// The state as it is drawn: over the standard deviation that it has at its noise level.
const scaled = (law, x, l) => {
  const { mean, std } = LAWS[law];
  return x / Math.sqrt(mean * mean + std * std + Math.exp(-2 * l));
};

const across = (l) => LEFT + ((l - grid[0]) / (grid[grid.length - 1] - grid[0])) * (RIGHT - LEFT);
const down = (y) => (TOP + MIDDLE) / 2 - (Math.max(-REACH, Math.min(REACH, y)) / (2 * REACH)) * (MIDDLE - TOP);
const polyline = (points, style) => `<path d="M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}" fill="none" ${style}/>`;
const text = (x, y, words, anchor = "start") => `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="var(--md-default-fg-color)">${words}</text>`;

function drawn(points, { stroke, dash, mark }, width, part) {
  const marks = points.map(([x, y]) => `<path d="${mark}" transform="translate(${x.toFixed(1)},${y.toFixed(1)})" fill="none"/>`);
  return `<g stroke="${stroke}" stroke-width="${width}" data-part="${part}">${polyline(points, `stroke-dasharray="${dash}"`)}${marks.length < 40 ? marks.join("") : ""}</g>`;
}

function picture(law, path, states, table, chosen) {
  const at = (line) => line.map((x, n) => {
    const l = grid[Math.round((n * (grid.length - 1)) / (line.length - 1))];
    return [across(l), down(scaled(law, x, l))];
  });
  const steps = STEPS[chosen];
  const [low, high] = [1e-4, 3];
  const place = (n) => LEFT + 20 + (n / (STEPS.length - 1)) * (RIGHT - LEFT - 40);
  const height = (value) => LOWER - (Math.log(Math.max(low, Math.min(high, value)) / low) / Math.log(high / low)) * (LOWER - UPPER);
  const names = Object.keys(SOLVERS);
  return (
    text(LEFT, TOP - 12, `one path, ${steps} steps; grey: the fine solution`) +
    `<path d="M${LEFT},${MIDDLE}H${RIGHT}M${LEFT},${LOWER}H${RIGHT}" stroke="var(--md-default-fg-color--lighter)"/>` +
    polyline(at(states.fine), 'stroke="var(--md-default-fg-color--lighter)" stroke-width="3" data-part="fine"') +
    names.map((name) => drawn(at(states[name]), LOOKS[name], 1.6, name)).join("") +
    text((LEFT + RIGHT) / 2, MIDDLE + 22, "noise σ = 20 → log-SNR λ → data", "middle") +
    text(LEFT, UPPER - 12, `distance of the end, rms of ${SAMPLES} paths`) +
    `<path d="M${place(chosen)},${UPPER}V${LOWER}" stroke="var(--md-default-fg-color--lighter)" stroke-dasharray="3 3"/>` +
    [1, 0.1, 0.01, 0.001].map((value) => text(LEFT - 8, height(value) + 5, value, "end")).join("") +
    names.map((name) => drawn(table[name].map((value, n) => [place(n), height(value)]), LOOKS[name], 2, `rms ${name}`)).join("") +
    STEPS.map((n, k) => text(place(k), LOWER + 20, n, "middle")).join("") +
    text((LEFT + RIGHT) / 2, LOWER + 42, "steps", "middle")
  );
}

function start(root) {
  root.innerHTML = WIDGET;
  const form = root.querySelector("form");
  const fields = form.elements;
  const known = {};
  const table = (law, own) => (known[`${law} ${own}`] ??= errors(law, own));

  const draw = () => {
    const [law, chosen, seed, own] = [fields.law.value, Number(fields.steps.value), Number(fields.seed.value), fields.coupling.value === "own"];
    const steps = STEPS[chosen];
    form.querySelector("label[for=s-steps] .value").textContent = steps;
    form.querySelector("label[for=s-seed] .value").textContent = seed;
    const path = drawPath(seed, law);
    const seen = own ? { ...path, sums: drawPath(seed + 500, law).sums } : path;
    const states = { fine: fine(law, path) };
    for (const name of Object.keys(SOLVERS)) states[name] = followed(name, law, seen, steps);
    const rms = table(law, own);
    const said = Object.keys(SOLVERS).map(
      (name) =>
        `${name}, ${steps * SOLVERS[name]} evaluations: ${number(Math.abs(last(states[name]) - last(states.fine)))} on this path, ` +
        `${number(rms[name][chosen])} root mean square.`,
    );
    const words = `${steps} steps, ${LAWS[law].name}: distance from the fine solution at the end.\n${said.join("\n")}`;
    root.querySelector("svg > g").innerHTML = picture(law, path, states, rms, chosen);
    root.querySelector("title").textContent = `A trajectory from noise to data by four solvers, and their errors against steps. ${words}`;
    root.querySelector("[role=status]").textContent = words;
  };
  const set = (settings) => {
    for (const [name, value] of Object.entries(settings)) fields[name].value = value;
    draw();
  };
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of root.querySelectorAll("[data-try]")) {
    button.addEventListener("click", () => set({ ...FIRST, ...TRIES[button.dataset.try][1] }));
  }
  set(FIRST);
}

const root = document.querySelector("#seeds-play");
if (root) start(root);
