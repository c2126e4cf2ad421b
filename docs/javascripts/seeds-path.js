// One Brownian path of the diffusion SDE, and solvers that see it finely or coarsely: the mathematics of week 4's figure.

// Two Gaussians of one standard deviation at ±mean; noise levels from 20 to 0.05, equal steps of λ = −log σ.
export const LAWS = {
  one: { name: "one mode", mean: 0.3, std: 0.3 },
  two: { name: "two modes", mean: 1, std: 0.1 },
};
export const [SIGMA_MAX, SIGMA_MIN, CELLS] = [20, 0.05, 768];
export const STEPS = [4, 8, 16, 32, 64, 128];
export const SAMPLES = 200;

export const grid = Array.from({ length: CELLS + 1 }, (_, m) => -Math.log(SIGMA_MAX) + (m / CELLS) * Math.log(SIGMA_MAX / SIGMA_MIN));
const sigmas = grid.map((l) => Math.exp(-l));

// A stream of normals that is the same everywhere: mulberry32, and the method of Box and Muller.
function normals(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  let spare = null;
  const normal = () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    const [radius, angle] = [Math.sqrt(-2 * Math.log(uniform())), 2 * Math.PI * uniform()];
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return { uniform, normal };
}

// A start at the most noise, and a path: over each cell both integrals √2 ∫ e^{b(λ' − λ)} dW, b = −1 and 1. They are
// kept as sums from the beginning on, each term carried back there, so that one over any cells is a difference.
export function drawPath(seed, law) {
  const { uniform, normal } = normals(seed);
  const { mean, std } = LAWS[law];
  const data = (uniform() < 0.5 ? -mean : mean) + std * normal();
  const start = data + SIGMA_MAX * normal();
  const h = grid[1] - grid[0];
  const root = Math.sqrt(-Math.expm1(-2 * h));
  const across = (2 * h) / root;
  const rest = Math.sqrt(Math.expm1(2 * h) - across * across);
  const cells = { "-1": [], 1: [] };
  for (let m = 0; m < CELLS; m++) {
    const [first, second] = [normal(), normal()];
    cells[-1].push(root * first);
    cells[1].push(across * first + rest * second);
  }
  return { start, cells, sums: { "-1": sums(cells[-1], -1), 1: sums(cells[1], 1) } };
}

function sums(cells, rate) {
  const total = new Float64Array(CELLS + 1);
  for (let m = 0; m < CELLS; m++) total[m + 1] = total[m] + Math.exp(-rate * grid[m + 1]) * cells[m];
  return total;
}

// The integral over the cells from i to j.
const integral = (path, rate, i, j) => Math.exp(rate * grid[j]) * (path.sums[rate][j] - path.sums[rate][i]);

// The exact denoiser.
export function denoised({ mean, std }, x, sigma) {
  const v = std * std + sigma * sigma;
  const pull = Math.tanh((x * mean) / v);
  return pull * mean + ((std * std) / v) * (x - pull * mean);
}

const E = (y) => -Math.expm1(-y);
const phi = (y) => 1 - E(y) / y;

// From cell boundary i to j: x at the end of a step. SEEDS predicts the data, with α = 1.
const step = {
  "SEEDS-1": (law, path, x, i, j) => held(law, path, x, i, j, denoised(law, x, sigmas[i])),
  "SEEDS-2": (law, path, x, i, j) => {
    const middle = (i + j) / 2;
    const u = held(law, path, x, i, middle, denoised(law, x, sigmas[i]));
    return held(law, path, x, i, j, denoised(law, u, sigmas[middle]));
  },
  "SEEDS-3": (law, path, x, i, j) => {
    const [first, second] = [i + (j - i) / 3, i + (2 * (j - i)) / 3];
    const D = denoised(law, x, sigmas[i]);
    const of_u = denoised(law, held(law, path, x, i, first, D), sigmas[first]) - D;
    const w = held(law, path, x, i, second, D) + 2 * phi(2 * (grid[second] - grid[i])) * of_u;
    const of_w = denoised(law, w, sigmas[second]) - D;
    return held(law, path, x, i, j, D) + 1.5 * phi(2 * (grid[j] - grid[i])) * of_w;
  },
  "Euler–Maruyama": (law, path, x, i, j) => {
    const share = 1 - (sigmas[j] / sigmas[i]) ** 2;
    return x - share * (x - denoised(law, x, sigmas[i])) + sigmas[j] * integral(path, 1, i, j);
  },
};

// A step with the denoised data held at D.
const held = (law, path, x, i, j, D) => {
  const h = 2 * (grid[j] - grid[i]);
  return Math.exp(-h) * x + E(h) * D + sigmas[j] * integral(path, -1, i, j);
};

export const SOLVERS = { "SEEDS-1": 1, "SEEDS-2": 2, "SEEDS-3": 3, "Euler–Maruyama": 1 };
// Evaluations a step. Euler–Maruyama runs in σ².

// The states at the beginning of each step and at the end.
export function followed(solver, law, path, steps) {
  const cells = CELLS / steps;
  const states = [path.start];
  for (let n = 0; n < steps; n++) states.push(step[solver](LAWS[law], path, states[n], n * cells, (n + 1) * cells));
  return states;
}

// The fine solution: SEEDS-3 with a stage on each cell.
export const fine = (law, path) => followed("SEEDS-3", law, path, CELLS / 3);

export const last = (states) => states[states.length - 1];

// Many paths of a law: root mean square distances to the fine solution, by solver and number of steps. Where `own`, each
// solver sees another path than the fine solution does.
export function errors(law, own) {
  const paths = Array.from({ length: SAMPLES }, (_, k) => drawPath(1000 + k, law));
  const ends = paths.map((path) => last(fine(law, path)));
  const seen = own ? paths.map((path, k) => ({ ...path, sums: paths[(k + 1) % SAMPLES].sums })) : paths;
  const rms = (solver, steps) => {
    const squares = seen.map((path, k) => (last(followed(solver, law, path, steps)) - ends[k]) ** 2);
    return Math.sqrt(squares.reduce((total, square) => total + square, 0) / SAMPLES);
  };
  return Object.fromEntries(Object.keys(SOLVERS).map((solver) => [solver, STEPS.map((steps) => rms(solver, steps))]));
}
