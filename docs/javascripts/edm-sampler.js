// Algorithm 2 of EDM on a one-dimensional Gaussian mixture, whose denoiser is exact: a sampler to play with on the page of week 1.

const MIXTURE = [
  { weight: 0.5, mean: -0.8, std: 0.06 },
  { weight: 0.2, mean: 0.1, std: 0.06 },
  { weight: 0.3, mean: 0.7, std: 0.06 },
];
const SIGMA_MIN = 0.002;
const SIGMA_MAX = 80;
const SIGMA_DATA = 0.65;
const SAMPLES = 1001;
const LINES = 33;
const DEFAULTS = { solver: "heun", steps: 18, rho: 7, churn: 0, spoil: 0 };
// What the instructions on the page ask for, in their order: a button's name, and what it sets beside the defaults.
const TRIES = [
  ["Euler, 8 steps", { solver: "euler", steps: 8 }],
  ["Heun, 8 steps", { steps: 8 }],
  ["Euler, 36 steps", { solver: "euler", steps: 36 }],
  ["Heun, 18 steps", {}],
  ["Euler, 64 steps", { solver: "euler", steps: 64 }],
  ["Heun, 24 steps", { steps: 24 }],
  ["ρ = 1", { rho: 1 }],
  ["Spoilt, 18 steps", { spoil: 0.2 }],
  ["Spoilt, 64 steps", { steps: 64, spoil: 0.2 }],
  ["Spoilt, with churn", { steps: 64, spoil: 0.2, churn: 30 }],
  ["Exact, with churn", { steps: 64, churn: 30 }],
  ["Exact, no churn", { steps: 64 }],
];
// Algorithm 2 never adds more noise than there is: gamma is cut here.
const GAMMA_MAX = Math.SQRT2 - 1;

// D(x; sigma) = E[x0 | x]: the components' own linear denoisers, weighted by how likely each made x.
function denoise(x, sigma) {
  const parts = MIXTURE.map(({ weight, mean, std }) => {
    const variance = std * std + sigma * sigma;
    return {
      log: Math.log(weight) - 0.5 * Math.log(variance) - (0.5 * (x - mean) ** 2) / variance,
      value: (std * std * x + sigma * sigma * mean) / variance,
    };
  });
  const top = Math.max(...parts.map((part) => part.log));
  let total = 0;
  let value = 0;
  for (const part of parts) {
    const weight = Math.exp(part.log - top);
    total += weight;
    value += weight * part.value;
  }
  return value / total;
}

function edmSigmas(steps, rho) {
  const from = SIGMA_MAX ** (1 / rho);
  const to = SIGMA_MIN ** (1 / rho);
  return [...Array.from({ length: steps }, (_, i) => (from + (i / Math.max(steps - 1, 1)) * (to - from)) ** rho), 0];
}

// The path [[sigma, x], ...] of one sample from x at sigmas[0].
function sample(denoiser, x, sigmas, { heun, churn }, normal) {
  const steps = sigmas.length - 1;
  const path = [[sigmas[0], x]];
  for (let i = 0; i < steps; i++) {
    const sigma = sigmas[i];
    const next = sigmas[i + 1];
    const inWindow = sigma >= 0.05 && sigma <= 1;
    const hat = sigma * (1 + (inWindow ? Math.min(churn / steps, GAMMA_MAX) : 0));
    if (hat > sigma) {
      x += Math.sqrt(hat * hat - sigma * sigma) * normal();
      path.push([hat, x]);
    }
    const slope = (x - denoiser(x, hat)) / hat;
    let moved = x + (next - hat) * slope;
    if (heun && next > 0) {
      const slopeThere = (moved - denoiser(moved, next)) / next;
      moved = x + ((next - hat) * (slope + slopeThere)) / 2;
    }
    x = moved;
    path.push([next, x]);
  }
  return path;
}

// Normal draws from a 32-bit generator (mulberry32) by Box and Muller: the same picture for the same seed.
function normals(seed) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

// The normal distribution function, by the series of erf near 0 and the continued fraction of erfc beyond.
function normalCdf(z) {
  const a = Math.abs(z);
  if (a > 38) return z > 0 ? 1 : 0;
  const density = Math.exp((-a * a) / 2) / Math.sqrt(2 * Math.PI);
  let upper;
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let k = 1; k < 60; k++) {
      term *= (a * a) / (2 * k + 1);
      sum += term;
    }
    upper = 0.5 - density * sum;
  } else {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / (a + fraction);
    upper = density / (a + fraction);
  }
  return z > 0 ? 1 - upper : upper;
}

// Quantiles of the mixture with noise sigma. The flow in one dimension keeps order, so it maps quantile to quantile:
// those at SIGMA_MAX are where samples start, those at 0 are the exact solutions.
function quantiles(sigma) {
  const cdf = (x) => MIXTURE.reduce((sum, c) => sum + c.weight * normalCdf((x - c.mean) / Math.hypot(c.std, sigma)), 0);
  return Array.from({ length: SAMPLES }, (_, i) => {
    const share = (i + 0.5) / SAMPLES;
    let low = -6 * (sigma + 1);
    let high = 6 * (sigma + 1);
    for (let k = 0; k < 60; k++) {
      const middle = (low + high) / 2;
      if (cdf(middle) < share) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  });
}

// W1 between the samples and the mixture: in one dimension, the mean distance of sorted samples to quantiles.
function distance(ends, exact) {
  const sorted = [...ends].sort((a, b) => a - b);
  return sorted.reduce((sum, x, i) => sum + Math.abs(x - exact[i]), 0) / exact.length;
}

const CONTROLS = `
  <form class="controls" aria-label="Settings of the sampler">
    <div><label for="s-solver">Solver</label>
      <select id="s-solver" name="solver"><option value="heun">Heun</option><option value="euler">Euler</option></select></div>
    <div><label for="s-steps">Steps <span class="value">18</span></label>
      <input id="s-steps" name="steps" type="range" min="2" max="64" value="18"></div>
    <div><label for="s-rho">ρ <span class="value">7</span></label>
      <input id="s-rho" name="rho" type="range" min="1" max="15" value="7"></div>
    <div><label for="s-churn">S_churn, for σ in [0.05, 1] <span class="value">0</span></label>
      <input id="s-churn" name="churn" type="range" min="0" max="30" value="0"></div>
    <div><label for="s-spoil">Denoiser's error at σ &gt; 1 <span class="value">0</span></label>
      <input id="s-spoil" name="spoil" type="range" min="0" max="0.4" step="0.05" value="0"></div>
    <div><button type="button" name="again">New noise</button></div>
  </form>
  <div class="controls" role="group" aria-label="Settings of the instructions">
    ${TRIES.map(([name], k) => `<button type="button" data-try="${k}">${name}</button>`).join("\n    ")}
  </div>
  <svg viewBox="0 0 720 350" role="img" aria-labelledby="sampler-title"><title id="sampler-title"></title><g></g></svg>
  <p role="status"></p>`;

const LEFT = 46;
const RIGHT = 640;
const across = (sigma) => {
  const place = (value) => Math.log(Math.max(value, SIGMA_MIN / 2));
  return LEFT + ((place(SIGMA_MAX) - place(sigma)) / (place(SIGMA_MAX) - place(0))) * (RIGHT - LEFT);
};
const down = (x, sigma) => 150 - (x / Math.hypot(sigma, SIGMA_DATA)) * 62;

function picture(paths, sigmas, ends) {
  const every = Math.floor(SAMPLES / LINES);
  const lines = paths
    .filter((_, i) => i % every === Math.floor(every / 2))
    .map((path) => `<polyline points="${path.map(([s, x]) => `${across(s).toFixed(1)},${down(x, s).toFixed(1)}`).join(" ")}"/>`);
  const stops = sigmas.map((s) => `<line x1="${across(s)}" x2="${across(s)}" y1="290" y2="297"/>`);
  const marks = [80, 10, 1, 0.1, 0.01, 0].map((s) => `<text x="${across(s)}" y="312" text-anchor="middle">${s}</text>`);
  const bins = new Array(60).fill(0);
  for (const x of ends) {
    const bin = Math.floor(((x + 1.5) / 3) * bins.length);
    if (bin >= 0 && bin < bins.length) bins[bin] += 1 / ends.length;
  }
  const shares = bins.map((_, k) => {
    const edge = (j) => -1.5 + (3 * j) / bins.length;
    return MIXTURE.reduce(
      (sum, c) => sum + c.weight * (normalCdf((edge(k + 1) - c.mean) / c.std) - normalCdf((edge(k) - c.mean) / c.std)),
      0,
    );
  });
  const height = (3 / bins.length / SIGMA_DATA) * 62;
  const bar = (share, k, style) =>
    `<rect x="${RIGHT + 6}" width="${share * 300}" y="${down(-1.5 + (3 * (k + 1)) / bins.length, 0)}" height="${height}" ${style}/>`;
  return (
    `<g fill="none" stroke="var(--line-1)" stroke-width="1.1" opacity="0.75">${lines.join("")}</g>` +
    `<g fill="var(--line-1)" opacity="0.6">${bins.map((share, k) => bar(share, k, "")).join("")}</g>` +
    `<g fill="none" stroke="var(--line-2)">${shares.map((share, k) => bar(share, k, "")).join("")}</g>` +
    `<g stroke="var(--md-default-fg-color--light)">${stops.join("")}</g>` +
    `<g fill="var(--md-default-fg-color)">${marks.join("")}` +
    `<text x="${(LEFT + RIGHT) / 2}" y="340" text-anchor="middle">noise level σ, with the solver's stops</text>` +
    `<text transform="translate(16 150) rotate(-90)" text-anchor="middle">x / √(σ² + σ_data²)</text></g>`
  );
}

function start(root) {
  root.innerHTML = CONTROLS;
  const form = root.querySelector("form");
  const begin = quantiles(SIGMA_MAX);
  const exact = quantiles(0);
  let seed = 1;

  const draw = () => {
    const value = (name) => Number(form.elements[name].value);
    for (const input of form.querySelectorAll("input[type=range]")) {
      form.querySelector(`label[for=${input.id}] .value`).textContent = input.value;
    }
    const spoil = value("spoil");
    let nfe = 0;
    const denoiser = (x, sigma) => {
      nfe += 1;
      return denoise(x, sigma) + (sigma > 1 ? spoil : 0);
    };
    const sigmas = edmSigmas(value("steps"), value("rho"));
    const normal = normals(seed);
    const settings = { heun: form.elements.solver.value === "heun", churn: value("churn") };
    const paths = begin.map((x) => sample(denoiser, x, sigmas, settings, normal));
    const ends = paths.map((path) => path[path.length - 1][1]);
    const error = distance(ends, exact);
    const greatest = GAMMA_MAX * value("steps");
    const words =
      `${nfe / SAMPLES} evaluations; W1 distance of ${SAMPLES} samples to the data: ${error.toPrecision(2)}.` +
      (settings.churn > greatest ? ` At this number of steps S_churn counts as ${greatest.toFixed(1)} at most.` : "") +
      (settings.churn > 0 ? " With fresh noise, part of the distance is chance: press New noise to see how much." : "");
    root.querySelector("svg > g").innerHTML = picture(paths, sigmas, ends);
    root.querySelector("title").textContent = `Trajectories of the sampler, and what they end in. ${words}`;
    root.querySelector("[role=status]").textContent = words;
  };
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.again.addEventListener("click", () => {
    seed += 1;
    draw();
  });
  for (const button of root.querySelectorAll("[data-try]")) {
    button.addEventListener("click", () => {
      // The first noise again, so that the numbers are those that the instructions name.
      seed = 1;
      for (const [name, setting] of Object.entries({ ...DEFAULTS, ...TRIES[button.dataset.try][1] })) {
        form.elements[name].value = setting;
      }
      draw();
    });
  }
  draw();
}

document.addEventListener("DOMContentLoaded", () => {
  const root = document.querySelector("#edm-sampler");
  if (root) start(root);
});
