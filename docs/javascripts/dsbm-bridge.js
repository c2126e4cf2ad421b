// IMF and IPF on a line, pass by pass, for the page of week 6. Space is a grid and time has 32 steps, so that couplings are matrices,
// and both iterations are sums: no network, no simulation error. The lines that are drawn are samples of the iterate.

const GRID = 107;
const EDGE = 5;
const STEPS = 32;
const PASSES = 6;
const PATHS = 44;
const STEP = (2 * EDGE) / (GRID - 1);
const place = (i) => -EDGE + i * STEP;

const ENDS = {
  modes: [
    [{ weight: 0.5, mean: -1, std: 0.3 }, { weight: 0.5, mean: 1, std: 0.3 }],
    [{ weight: 0.3, mean: -1.9, std: 0.25 }, { weight: 0.4, mean: 0, std: 0.25 }, { weight: 0.3, mean: 1.9, std: 0.25 }],
  ],
  gaussians: [[{ weight: 1, mean: -0.1, std: 1 }], [{ weight: 1, mean: 0.1, std: 1 }]],
};

function onGrid(mixture) {
  const density = Float64Array.from({ length: GRID }, (_, i) =>
    mixture.reduce((sum, c) => sum + (c.weight / c.std) * Math.exp(-((place(i) - c.mean) ** 2) / (2 * c.std ** 2)), 0),
  );
  const total = density.reduce((a, b) => a + b);
  return density.map((p) => p / total);
}

// Brownian kernel exp(-(x - y)^2 / (2 variance)), up to its constant, which every use divides out.
const kernel = (i, j, variance) => Math.exp(-(((i - j) * STEP) ** 2) / (2 * variance));

const matrix = (entry) => Float64Array.from({ length: GRID * GRID }, (_, k) => entry(Math.floor(k / GRID), k % GRID));

function sums(coupling) {
  const start = new Float64Array(GRID);
  const end = new Float64Array(GRID);
  for (let i = 0; i < GRID; i++) {
    for (let j = 0; j < GRID; j++) {
      start[i] += coupling[i * GRID + j];
      end[j] += coupling[i * GRID + j];
    }
  }
  return { start, end };
}

// Both projections of a coupling: put the reference's bridges between its ends, then make the process Markov. Under the
// bridges, p(x_k, x_k+1) = K_dt(x_k, x_k+1) * sum over ends of K_t(x_0, x_k) [coupling / K_1](x_0, x_1) K_1-t(x_k+1, x_1).
// The Markov process has these transitions; returns them, and the coupling that it makes from its start.
function markovian(coupling, sigma) {
  const dt = 1 / STEPS;
  const reach = Math.min(GRID - 1, Math.ceil((6 * sigma * Math.sqrt(dt)) / STEP));
  const step = Float64Array.from({ length: reach + 1 }, (_, i) => kernel(i, 0, sigma * sigma * dt));
  const width = 2 * reach + 1;
  let ratio = matrix((i, j) => coupling[i * GRID + j] / kernel(i, j, sigma * sigma));
  const { start } = sums(coupling);
  let reached = matrix((i, j) => (i === j ? start[i] : 0));
  const transitions = [];
  for (let k = 0; k < STEPS; k++) {
    const left = 1 - (k + 1) * dt;
    const end = Float64Array.from({ length: GRID }, (_, i) =>
      left > 1e-9 ? kernel(i, 0, sigma * sigma * left) : Number(i === 0),
    );
    const table = new Float64Array(GRID * width);
    const moved = new Float64Array(GRID * GRID);
    const pushed = new Float64Array(GRID * GRID);
    for (let x = 0; x < GRID; x++) {
      const first = Math.max(0, x - reach);
      const last = Math.min(GRID - 1, x + reach);
      let total = 0;
      for (let y = first; y <= last; y++) {
        let sum = 0;
        if (left > 1e-9) for (let z = 0; z < GRID; z++) sum += ratio[x * GRID + z] * end[Math.abs(y - z)];
        else sum = ratio[x * GRID + y];
        sum *= step[Math.abs(x - y)];
        table[x * width + y - x + reach] = sum;
        total += sum;
      }
      if (!(total > 0)) table[x * width + reach] = total = 1;
      for (let y = first; y <= last; y++) {
        const p = (table[x * width + y - x + reach] /= total);
        const near = step[Math.abs(x - y)];
        for (let z = 0; z < GRID; z++) {
          pushed[y * GRID + z] += near * ratio[x * GRID + z];
          moved[y * GRID + z] += p * reached[x * GRID + z];
        }
      }
    }
    transitions.push(table);
    ratio = pushed;
    reached = moved;
  }
  return { transitions, width, coupling: matrix((i, j) => reached[j * GRID + i]) };
}

// One half of Sinkhorn's iteration: make one marginal right, keep the conditional law of the other end.
function fitted(coupling, target, backward) {
  const { start, end } = sums(coupling);
  return matrix((i, j) => {
    const [wanted, had] = backward ? [target[j], end[j]] : [target[i], start[i]];
    return had > 0 ? (coupling[i * GRID + j] * wanted) / had : 0;
  });
}

// The bridge itself: Sinkhorn's iteration on the two scalings until they stand still.
function schrodinger([p, q], sigma) {
  const K = matrix((i, j) => kernel(i, j, sigma * sigma));
  const a = new Float64Array(GRID).fill(1);
  const b = new Float64Array(GRID).fill(1);
  for (let n = 0, change = 1; n < 3000 && change > 1e-12; n++) {
    change = 0;
    for (const [mine, other, wanted] of [[a, b, p], [b, a, q]]) {
      for (let i = 0; i < GRID; i++) {
        let sum = 0;
        for (let j = 0; j < GRID; j++) sum += K[i * GRID + j] * other[j];
        const next = wanted[i] / sum;
        change = Math.max(change, Math.abs(next * sum - mine[i] * sum));
        mine[i] = next;
      }
    }
  }
  return matrix((i, j) => a[i] * K[i * GRID + j] * b[j]);
}

const divergence = (p, q) => p.reduce((sum, value, k) => sum + (value > 1e-300 ? value * Math.log(value / q[k]) : 0), 0);
const variation = (p, q) => p.reduce((sum, value, k) => sum + Math.abs(value - q[k]) / 2, 0);
const moment = (coupling, f) => coupling.reduce((sum, p, k) => sum + p * f(place(Math.floor(k / GRID)), place(k % GRID)), 0);
const covariance = (coupling) => {
  const value = moment(coupling, (x, y) => x * y) - moment(coupling, (x) => x) * moment(coupling, (_, y) => y);
  return Math.abs(value) < 1e-9 ? 0 : value;
};

// All passes of both methods. Odd passes are backward in time, even ones forward.
function iterate(ends, sigma) {
  const [p, q] = ends;
  const bridge = schrodinger(ends, sigma);
  const imf = [{ coupling: matrix((i, j) => p[i] * q[j]) }];
  const reference = matrix((i, j) => kernel(i, j, sigma * sigma));
  const ipf = [{ coupling: fitted(reference, p, false) }];
  for (let n = 1; n <= PASSES; n++) {
    imf.push(markovian(imf[n - 1].coupling, sigma));
    ipf.push({ coupling: fitted(ipf[n - 1].coupling, n % 2 ? q : p, n % 2 === 1) });
  }
  const distances = (passes) => passes.map(({ coupling }) => Math.max(divergence(coupling, bridge), 0));
  return { imf, ipf, bridge, distance: { imf: distances(imf), ipf: distances(ipf) } };
}

// The Gaussian iterates in closed form, for ends of variance 1 (the page derives both maps).
function closedForm(method, pass, sigma) {
  const noise = sigma * sigma;
  let c = method === "imf" ? 0 : 1;
  for (let n = 0; n < pass; n++) {
    if (method === "ipf") c = 1 / (c + noise);
    else {
      const cosine = c + noise / 2;
      const ratio = cosine < 1 ? Math.acos(cosine) / Math.sqrt(1 - cosine ** 2) : Math.acosh(cosine) / Math.sqrt(cosine ** 2 - 1);
      c = Math.exp((-noise / 2) * (Math.abs(cosine - 1) < 1e-9 ? 1 : ratio));
    }
  }
  return c;
}

function uniforms(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
}

// The place between grid points where the distribution function of `weights` from index `first` on reaches `share`.
function quantile(weights, share, first) {
  let sum = 0;
  const total = weights.reduce((a, b) => a + b);
  for (let i = 0; i < weights.length; i++) {
    const part = weights[i] / total;
    if (sum + part >= share && part > 0) return first + i - 0.5 + (share - sum) / part;
    sum += part;
  }
  return first + weights.length - 1;
}

// Sample paths; the same uniform numbers for every method and pass, so that a line can be followed from pass to pass.
function sample(process, first, sigma, seed) {
  const uniform = uniforms(seed);
  const { start } = sums(process.coupling);
  return Array.from({ length: PATHS }, (_, n) => {
    let x = quantile(start, (n + uniform()) / PATHS, 0);
    const path = [x];
    const shares = Array.from({ length: STEPS }, uniform);
    if (first) return bridged(process.coupling, x, shares, uniform, sigma);
    for (let k = 0; k < STEPS; k++) {
      const from = Math.min(GRID - 1, Math.max(0, Math.round(x)));
      const row = process.transitions[k].subarray(from * process.width, (from + 1) * process.width);
      x = quantile(row, shares[k], from - (process.width - 1) / 2) + (x - from);
      path.push(x);
    }
    return path;
  });
}

// Before the first pass the process is a mixture of bridges and not Markov: draw the end, then the bridge.
function bridged(coupling, x, shares, uniform, sigma) {
  const from = Math.min(GRID - 1, Math.max(0, Math.round(x)));
  const end = quantile(coupling.subarray(from * GRID, (from + 1) * GRID), shares[0], 0);
  const path = [x];
  for (let k = 0; k < STEPS; k++) {
    const left = 1 - k / STEPS;
    const normal = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    const spread = Math.sqrt(Math.max(0, (left - 1 / STEPS) / (STEPS * left)));
    path.push(path[k] + (end - path[k]) / (STEPS * left) + ((sigma * spread) / STEP) * normal);
  }
  return path;
}

const PANEL = `
  <form class="controls" aria-label="Settings of the iteration">
    <div><label for="b-method">Method</label>
      <select id="b-method" name="method"><option value="ipf">IPF (DSB)</option><option value="imf">IMF (DSBM)</option></select></div>
    <div><label for="b-pass">Pass <span class="value">0</span></label>
      <input id="b-pass" name="pass" type="range" min="0" max="${PASSES}" value="0"></div>
    <div><button type="button" name="next">Next pass</button></div>
    <div><label for="b-sigma">σ of the reference <span class="value">0.5</span></label>
      <input id="b-sigma" name="sigma" type="range" min="0.4" max="1.6" step="0.1" value="0.5"></div>
    <div><label for="b-ends">Ends</label>
      <select id="b-ends" name="ends"><option value="modes">two modes to three</option><option value="gaussians">the paper's Gaussians</option></select></div>
    <div><button type="button" name="again">New noise</button></div>
  </form>
  <svg viewBox="0 0 720 350" role="img" aria-labelledby="bridge-paths"><title id="bridge-paths"></title><g></g></svg>
  <svg viewBox="0 0 720 250" role="img" aria-labelledby="bridge-distance"><title id="bridge-distance"></title><g></g></svg>
  <p role="status"></p>`;

const LEFT = 110;
const RIGHT = 610;
const SHOWN = 3.3;
const down = (i) => 158 - place(i) * 47;

// Filled: the iterate's marginal. Outlined: the data.
function marginal(now, data, at, side) {
  const scale = 620 * side;
  const shown = [...now.keys()].filter((i) => Math.abs(place(i)) < SHOWN);
  const outline = (weights) => shown.map((i) => `${(at + scale * weights[i]).toFixed(1)},${down(i).toFixed(1)}`).join(" ");
  return (
    `<polygon points="${at},${down(shown[0])} ${outline(now)} ${at},${down(shown[shown.length - 1])}" fill="var(--line-1)" opacity="0.45"/>` +
    `<polyline points="${outline(data)}" fill="none" stroke="var(--line-2)" stroke-width="1.6"/>`
  );
}

function pathsPicture(paths, now, ends) {
  const line = (path, n) => {
    const points = path.map((x, k) => `${(LEFT + ((RIGHT - LEFT) * k) / STEPS).toFixed(1)},${down(x).toFixed(1)}`);
    return `<polyline points="${points.join(" ")}" stroke="var(--line-${n < PATHS / 2 ? 1 : 2})"/>`;
  };
  return (
    `<svg width="720" height="318"><g fill="none" stroke-width="1.1" opacity="0.75">${paths.map(line).join("")}</g></svg>` +
    marginal(now.start, ends[0], LEFT - 8, -1) +
    marginal(now.end, ends[1], RIGHT + 8, 1) +
    `<g fill="var(--md-default-fg-color)"><text x="${LEFT}" y="340" text-anchor="middle">t = 0, π₀</text>` +
    `<text x="${RIGHT}" y="340" text-anchor="middle">t = 1, π₁</text></g>`
  );
}

function distancePicture(distance, method, pass) {
  const across = (n) => 110 + (n * 440) / PASSES;
  const lowest = -5;
  const up = (kl) => 200 - ((Math.min(1, Math.max(lowest, Math.log10(kl))) - lowest) * 180) / (1 - lowest);
  const curve = (name, colour, dash, words) => {
    const points = distance[name].map((kl, n) => [across(n), up(kl)]);
    const [x, y] = points[PASSES];
    const other = up(distance[name === "imf" ? "ipf" : "imf"][PASSES]);
    const apart = Math.abs(y - other) < 22 ? (name === "imf" ? -9 : 11) : 0;
    return (
      `<polyline points="${points.join(" ")}" fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dash}"/>` +
      points.map(([cx, cy], n) => `<circle cx="${cx}" cy="${cy}" r="${name === method && n === pass ? 9 : 4}" fill="${colour}"/>`).join("") +
      `<text x="${x + 14}" y="${y + 5 + apart}" fill="${colour}">${words}</text>`
    );
  };
  const grid = [0, -1, -2, -3, -4, -5].map(
    (power) =>
      `<line x1="100" x2="560" y1="${up(10 ** power)}" y2="${up(10 ** power)}" stroke="var(--rule)"/>` +
      `<text x="92" y="${up(10 ** power) + 5}" text-anchor="end">${power ? `${power === lowest ? "≤ " : ""}1e−${-power}` : "1"}</text>`,
  );
  const marks = distance.imf.map((_, n) => `<text x="${across(n)}" y="222" text-anchor="middle">${n}</text>`);
  return (
    `<g fill="var(--md-default-fg-color)">${grid.join("")}${marks.join("")}<text x="330" y="244" text-anchor="middle">pass</text>` +
    `<text transform="translate(24 110) rotate(-90)" text-anchor="middle">KL to the bridge</text></g>` +
    curve("imf", "var(--line-1)", "", "IMF") +
    curve("ipf", "var(--line-2)", "6 4", "IPF")
  );
}

function start(root) {
  root.innerHTML = PANEL;
  const form = root.querySelector("form");
  const [paths, distances] = root.querySelectorAll("svg");
  let seed = 1;
  let made = {};

  const draw = () => {
    const setting = (name) => form.elements[name].value;
    const [method, kind, pass, sigma] = [setting("method"), setting("ends"), Number(setting("pass")), Number(setting("sigma"))];
    for (const input of form.querySelectorAll("input[type=range]")) {
      form.querySelector(`label[for=${input.id}] .value`).textContent = input.value;
    }
    form.elements.next.disabled = pass === PASSES;
    const ends = ENDS[kind].map(onGrid);
    if (made.sigma !== sigma || made.kind !== kind) made = { sigma, kind, ...iterate(ends, sigma) };
    const process = made[method][pass];
    if (!process.transitions && (method === "ipf" || pass > 0)) {
      Object.assign(process, { ...markovian(process.coupling, sigma), coupling: process.coupling });
    }
    const now = sums(process.coupling);
    const errors = [variation(now.start, ends[0]), variation(now.end, ends[1])].map((error) => error.toFixed(3));
    const direction = pass === 0 ? "before the first pass" : `pass ${pass}, ${pass % 2 ? "backward" : "forward"}`;
    const exact = kind === "gaussians" ? ` (closed form ${closedForm(method, pass, sigma).toFixed(3)})` : "";
    const words =
      `${method.toUpperCase()}, ${direction}. Marginal error (total variation): ${errors[0]} at t = 0, ${errors[1]} at t = 1. ` +
      `KL to the bridge: ${made.distance[method][pass].toPrecision(2)}. ` +
      `Covariance of the ends: ${covariance(process.coupling).toFixed(3)}${exact}; of the bridge: ${covariance(made.bridge).toFixed(3)}.`;
    const lines = sample(process, method === "imf" && pass === 0, sigma, seed);
    paths.querySelector("g").innerHTML = pathsPicture(lines, now, ends);
    distances.querySelector("g").innerHTML = distancePicture(made.distance, method, pass);
    paths.querySelector("title").textContent = `Sample paths of the iterate, between its marginals and the data. ${words}`;
    distances.querySelector("title").textContent = `Distance to the Schrödinger bridge by pass, for IMF and IPF. ${words}`;
    root.querySelector("[role=status]").textContent = words;
  };
  let pending = 0;
  form.addEventListener("input", () => {
    clearTimeout(pending); // a slider that is dragged asks for many pictures: draw the last
    pending = setTimeout(draw, 30);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.next.addEventListener("click", () => {
    form.elements.pass.stepUp();
    draw();
  });
  form.elements.again.addEventListener("click", () => {
    seed += 1;
    draw();
  });
  draw();
}

document.addEventListener("DOMContentLoaded", () => {
  const root = document.querySelector("#dsbm-bridge");
  if (root) start(root);
});
