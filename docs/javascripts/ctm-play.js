// Jumps of a small student beside the exact trajectories, from any noise level to any other: the figure of week 8.

import {
  denoised, density, distance, exactJump, followed, GAMMAS, JUMPERS, lawAfter, load, normals, quantile, quantiles, STEPS,
  timesBetween,
} from "./ctm-trajectory.js";

const FIRST = { who: "student", steps: 0, gamma: 0, from: 0, to: 100, start: 30, seed: 1 };
// What the instructions on the page ask for, in their order: a button's name, and what it sets beside the first settings.
const TRIES = [
  ["One jump", {}],
  ["Untrained", { who: "untrained" }],
  ["Half way", { to: 55 }],
  ["From half way", { from: 55 }],
  ["16 steps, γ = 0", { steps: 4 }],
  ["16 steps, γ = 1", { steps: 4, gamma: 1 }],
  ["32 steps, γ = 1", { steps: 5, gamma: 1 }],
  ["32 steps, γ = 0.5", { steps: 5, gamma: 0.5 }],
  ["Exact, γ = 1", { who: "exact", steps: 5, gamma: 1 }],
  ["Untrained, γ = 0", { who: "untrained", steps: 5 }],
];
const SHOWN = [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98];

const slider = (name, label, most, step = 1, least = 0) =>
  `<div><label for="c-${name}">${label} <span class="value"></span></label>
      <input id="c-${name}" name="${name}" type="range" min="${least}" max="${most}" step="${step}"></div>`;
const WIDGET = `
  <form class="controls" aria-label="Settings of the jumps">
    <div><label for="c-who">Jumps are those of</label><select id="c-who" name="who">
      ${Object.entries(JUMPERS).map(([key, { name }]) => `<option value="${key}">${name}</option>`).join("")}</select></div>
    ${slider("steps", "Steps", STEPS.length - 1)}
    ${slider("gamma", "γ", 1, 0.1)}
    ${slider("from", "From noise level t", 99)}
    ${slider("to", "to s", 100, 1, 1)}
    ${slider("start", "Start, % of points below", 98, 1, 2)}
    ${slider("seed", "Noise", 20, 1, 1)}
  </form>
  <div class="controls" role="group" aria-label="Settings of the instructions">
    ${TRIES.map(([name], k) => `<div><button type="button" data-try="${k}">${name}</button></div>`).join("\n    ")}
  </div>
  <svg viewBox="0 0 720 674" role="img" aria-labelledby="c-title"><title id="c-title"></title><g></g></svg>
  <p role="status"></p>`;

const [LEFT, RIGHT, EDGE, TOP, MIDDLE, UPPER, LOWER] = [44, 590, 706, 34, 330, 428, 624];
const REACH = 2.3;
const LOOKS = [
  { stroke: "var(--line-1)", dash: "", mark: "M-3,-3h6v6h-6z" },
  { stroke: "var(--md-default-fg-color--light)", dash: "6 4", mark: "M0,-4L4,0L0,4L-4,0z" },
  { stroke: "var(--line-2)", dash: "", mark: "M0,-4L4,3H-4z" },
];

const text = (x, y, words, anchor = "start") =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="var(--md-default-fg-color)">${words}</text>`;
const line = (points, style) =>
  `<path d="M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}" fill="none" ${style}/>`;
const level = (t) => Number(t.toPrecision(t < 0.1 ? 1 : 2)).toString();

function start(root, student) {
  root.innerHTML = WIDGET;
  const { law, times } = student;
  const form = root.querySelector("form");
  const fields = form.elements;
  const value = (name) => Number(fields[name].value);

  // A level by its place on the grid: 0 is the most noise, 1 the least.
  const [high, low] = [times.sigma_max, times.sigma_min].map((t) => t ** (1 / times.rho));
  const levelAt = (place) => (high + place * (low - high)) ** times.rho;
  const placeOf = (t) => (t ** (1 / times.rho) - high) / (low - high);
  const across = (t) => LEFT + placeOf(t) * (RIGHT - LEFT);
  // A state is drawn over the standard deviation that it has at its noise level.
  const scale = (t) => Math.hypot(law.sigma_data, t);
  const down = (x, t) => (TOP + MIDDLE) / 2 - (Math.max(-REACH, Math.min(REACH, x / scale(t))) / (2 * REACH)) * (MIDDLE - TOP);
  const at = (t, x) => [across(t), down(x, t)];
  const along = (x, t, s) => {
    const [from, to] = [placeOf(t), placeOf(s)];
    const count = Math.max(2, Math.ceil(60 * (to - from)));
    return Array.from({ length: count + 1 }, (_, k) => levelAt(from + (k / count) * (to - from))).map((u) => at(u, exactJump(law, x, t, u)));
  };
  const background = SHOWN.map((share) => {
    const x = quantile(law, share, times.sigma_max);
    return line(along(x, times.sigma_max, times.sigma_min), 'stroke="var(--md-default-fg-color--lighter)" stroke-width="1" opacity="0.5"');
  }).join("");
  const ticks = [10, 3, 1, 0.3, 0.1, 0.02].map((t) => text(across(t), MIDDLE + 20, t, "middle")).join("");

  const known = {};
  const laws = (t) => (known[t] ??= quantiles(law, t));
  const errors = {};
  const error = (who, t, s, steps, gamma) =>
    (errors[[who, t, s, steps, gamma]] ??= distance(lawAfter(student, who, timesBetween(student, t, s, steps), gamma, laws(t)), laws(s)));

  // Right of the trajectories: the exact law at s as a line, the law of the ends as bars.
  const ends = (points, s) => {
    const bins = 52;
    const width = (2 * REACH * scale(s)) / bins;
    const counts = new Float64Array(bins);
    points.forEach((x) => (counts[Math.max(0, Math.min(bins - 1, Math.floor(x / width + bins / 2)))] += 1 / (points.length * width)));
    const places = Array.from({ length: 105 }, (_, k) => ((k - 52) / 52) * REACH * scale(s));
    const heights = places.map((x) => density(law, x, s));
    const unit = (EDGE - RIGHT - 24) / Math.max(...heights);
    const bar = (count, k) => {
      const [top, bottom] = [(k + 1 - bins / 2) * width, (k - bins / 2) * width].map((x) => down(x, s));
      return `<rect x="${RIGHT + 12}" y="${top.toFixed(1)}" width="${Math.min(count * unit, EDGE - RIGHT - 12).toFixed(1)}" height="${(bottom - top).toFixed(1)}"/>`;
    };
    const outline = places.map((x, k) => [RIGHT + 12 + unit * heights[k], down(x, s)]);
    return (
      `<g fill="var(--line-1)" opacity="0.4" data-part="law">${[...counts].map(bar).join("")}</g>` +
      line(outline, 'stroke="var(--md-default-fg-color)" stroke-width="1.2"')
    );
  };

  const paths = (steps, s) => {
    const last = steps[steps.length - 1].noised;
    const jumps = steps.map(({ from, to }) => line([at(from.t, from.x), at(to.t, to.x)], 'data-part="jump"')).join("");
    const noise = steps.filter(({ to, noised }) => noised.t > to.t);
    const kicks = noise.map(({ to, noised }) => line([at(to.t, to.x), at(noised.t, noised.x)], 'data-part="noise"')).join("");
    const exact = steps.map(({ from, to }) => line(along(from.x, from.t, to.t), "")).join("");
    const marks = [...steps.map(({ from }) => from), last].map(({ t, x }) => {
      const [cx, cy] = at(t, x);
      return `<circle cx="${cx.toFixed(1)}" cy="${cy.toFixed(1)}" r="3.5"/>`;
    });
    return (
      `<g stroke="var(--md-default-fg-color--light)" stroke-width="1.2">${exact}</g>` +
      `<g stroke="var(--line-2)" stroke-width="1.3" stroke-dasharray="4 3">${kicks}</g>` +
      `<g stroke="var(--line-1)" stroke-width="1.8">${jumps}</g><g fill="var(--line-1)">${marks.join("")}</g>` +
      `<path d="M${across(s)},${TOP}V${MIDDLE}" stroke="var(--md-default-fg-color--lighter)" stroke-dasharray="2 3"/>`
    );
  };

  const curves = (who, t, s, chosen) => {
    const [least, most] = [1e-3, 1];
    const place = (n) => LEFT + 50 + (n / (STEPS.length - 1)) * (RIGHT - LEFT - 80);
    const height = (d) => LOWER - (Math.log(Math.max(least, Math.min(most, d)) / least) / Math.log(most / least)) * (LOWER - UPPER);
    const curve = (gamma, k) => {
      const points = STEPS.map((steps, n) => [place(n), height(error(who, t, s, steps, gamma))]);
      const { stroke, dash, mark } = LOOKS[k];
      const marks = points.map(([x, y]) => `<path d="${mark}" transform="translate(${x.toFixed(1)},${y.toFixed(1)})" fill="none"/>`);
      return `<g stroke="${stroke}" stroke-width="1.8" data-part="γ = ${gamma}">${line(points, `stroke-dasharray="${dash}"`)}${marks.join("")}</g>`;
    };
    const legend = GAMMAS.map((gamma, k) => {
      const y = UPPER + 12 + 26 * k;
      const { stroke, dash, mark } = LOOKS[k];
      return (
        `<g stroke="${stroke}" stroke-width="1.8" fill="none"><path d="M${RIGHT + 4},${y}h30" stroke-dasharray="${dash}"/>` +
        `<path d="${mark}" transform="translate(${RIGHT + 19},${y})"/></g>` + text(RIGHT + 42, y + 5, `γ = ${gamma}`)
      );
    });
    return (
      text(LEFT, UPPER - 18, "distance of the law of the ends from the exact one") +
      `<path d="M${LEFT + 30},${LOWER}H${RIGHT}" stroke="var(--md-default-fg-color--lighter)"/>` +
      `<path d="M${place(chosen)},${UPPER}V${LOWER}" stroke="var(--md-default-fg-color--lighter)" stroke-dasharray="3 3"/>` +
      [1, 0.1, 0.01, 0.001].map((d) => text(LEFT + 18, height(d) + 5, d, "end")).join("") +
      GAMMAS.map(curve).join("") + legend.join("") +
      STEPS.map((n, k) => text(place(k), LOWER + 20, n, "middle")).join("") +
      text((LEFT + RIGHT) / 2, LOWER + 42, "steps", "middle")
    );
  };

  const draw = () => {
    const who = fields.who.value;
    const [chosen, gamma] = [value("steps"), value("gamma")];
    const [t, s] = [levelAt(value("from") / 100), levelAt(value("to") / 100)];
    const steps = STEPS[chosen];
    const [share, seed] = [value("start") / 100, value("seed")];
    const shown = { steps, gamma, from: level(t), to: level(s), start: value("start"), seed };
    for (const [name, words] of Object.entries(shown)) form.querySelector(`label[for=c-${name}] .value`).textContent = words;
    const grid = timesBetween(student, t, s, steps);
    const x = exactJump(law, quantile(law, share, times.sigma_max), times.sigma_max, t);
    const path = followed(student, who, x, grid, gamma, normals(seed, steps));
    const end = path[path.length - 1].noised.x;
    const g = JUMPERS[who].g(student, t, t)(x);
    const lawError = error(who, t, s, steps, gamma);
    const said = [
      `${steps} ${steps === 1 ? "jump" : "jumps"} from t = ${level(t)} to s = ${level(s)}, γ = ${gamma}, by ${JUMPERS[who].name}.`,
      `This path starts in ${x.toFixed(3)} and ends in ${end.toFixed(3)}; its exact trajectory ends in ${exactJump(law, x, t, s).toFixed(3)}.`,
      `At the start g(x, t, t) is ${g.toFixed(3)}; the exact denoiser is ${denoised(law, x, t).toFixed(3)}.`,
      `The law of all ends is ${lawError.toFixed(3)} from the exact one; with γ = 0 it is ${error(who, t, s, steps, 0).toFixed(3)}, ` +
        `with γ = 1 ${error(who, t, s, steps, 1).toFixed(3)}.`,
    ].join("\n");
    root.querySelector("svg > g").innerHTML =
      text(LEFT, TOP - 12, "grey: exact; blue: jumps; dashed: noise; right: law of the ends") +
      background + paths(path, s) + ends(lawAfter(student, who, grid, gamma, laws(t)), s) + ticks +
      text((LEFT + RIGHT) / 2, MIDDLE + 44, "noise level t, from noise to data", "middle") +
      curves(who, t, s, chosen);
    root.querySelector("title").textContent = `Jumps along trajectories from noise to data, and the distance of the law of their ends against steps. ${said}`;
    root.querySelector("[role=status]").textContent = said;
  };

  // A jump goes to less noise: the other end makes way.
  const ordered = (moved) => {
    if (value("from") < value("to")) return;
    if (moved === "from") fields.to.value = value("from") + 1;
    else fields.from.value = value("to") - 1;
  };
  const set = (settings) => {
    for (const [name, to] of Object.entries(settings)) fields[name].value = to;
    draw();
  };
  form.addEventListener("input", ({ target }) => {
    ordered(target.name);
    draw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of root.querySelectorAll("[data-try]")) {
    button.addEventListener("click", () => set({ ...FIRST, ...TRIES[button.dataset.try][1] }));
  }
  set(FIRST);
}

const root = document.querySelector("#ctm-play");
// Without the weights the table stays.
if (root) load().then((student) => start(root, student));
