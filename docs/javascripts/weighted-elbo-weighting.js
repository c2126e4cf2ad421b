// The weighting w(λ) that an objective implies, the law p_w that it is, and where its loss comes from: week 2.
// λ is the log SNR, largest at the data. An objective is a law of λ on a path, a prediction and a loss weight.

const GRID = 1601;
const BETA_MIN = 0.1;
const BETA_D = 19.9;
const VARIANCE = 0.25; // of the data, σ_data²
const DIMENSIONS = 256;

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const sech = (x) => 1 / Math.cosh(x);

const preserving = { signal: (l) => sigmoid(l), noise: (l) => sigmoid(-l) };
// Squares of alpha and sigma at λ, and −dt/dλ.
const COSINE = { ...preserving, rate: (l) => sech(l / 2) / (2 * Math.PI) };
const VP = { ...preserving, rate: (l) => sigmoid(-l) / Math.sqrt(BETA_MIN ** 2 + 2 * BETA_D * softplus(-l)) };
const STRAIGHT = {
  signal: (l) => sigmoid(l / 2) ** 2,
  noise: (l) => sigmoid(-l / 2) ** 2,
  rate: (l) => sech(l / 4) ** 2 / 8,
};
const EXPLODING = { signal: () => 1, noise: (l) => Math.exp(-l), rate: (l) => Math.exp(-l / 2) / 2 };

// Where λ is drawn, up to a factor, and the path on which. `first` is the λ at which the path itself ends.
export const LEVELS = {
  cosine: { name: "cosine path, t uniform", path: COSINE, density: COSINE.rate },
  vp: { name: "VP path, t uniform", path: VP, density: VP.rate, first: -Math.log(Math.expm1(BETA_MIN + BETA_D / 2)) },
  straight: { name: "straight line, t uniform", path: STRAIGHT, density: STRAIGHT.rate },
  edm: { name: "σ = t, ln σ normal (EDM)", path: EXPLODING, density: (l) => Math.exp(-(((l - 2.4) / 2.4) ** 2) / 2) },
  vdm: { name: "cosine path, λ uniform (VDM)", path: COSINE, density: () => 1 },
};

// The squared error of each prediction a x0 + b eps, in units of that of the noise: (b − a sigma/alpha)².
export const PREDICTIONS = {
  eps: { name: "noise ε", scale: () => 1 },
  x0: { name: "data x0", scale: (path, l) => path.noise(l) / path.signal(l) },
  v: { name: "v", scale: (path, l) => (path.signal(l) + path.noise(l)) ** 2 / path.signal(l) },
  velocity: { name: "velocity", scale: (path, l) => path.noise(l) / (2 * path.rate(l)) ** 2 },
  score: { name: "score", scale: (path, l) => 1 / path.noise(l) },
};

const edm = (l) => Math.exp(-(((l - 2.4) / 2.4) ** 2) / 2) * (Math.exp(-l) + VARIANCE);
// Where d log w / dλ = (2.4 − λ) / 2.4² − e^{−λ} / (e^{−λ} + σ_data²) is 0.
const EDM_PEAK = bisect((l) => (2.4 - l) / 2.4 ** 2 - Math.exp(-l) / (Math.exp(-l) + VARIANCE), -8, 0);

// The λ where a slope changes from positive to negative.
function bisect(slope, low, high) {
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (slope(middle) > 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// A weight on the squared error of the prediction, or (`whole`) the weighting w itself, which a weight is made for.
export const WEIGHTS = {
  one: { name: "1", at: () => 1 },
  min: { name: "min(SNR, γ)", parameter: { name: "γ", min: 1, max: 10, step: 1, start: 5 }, at: (l, g) => Math.min(Math.exp(l), g) },
  max: { name: "max(SNR, 1)", at: (l) => Math.max(Math.exp(l), 1) },
  p2: { name: "1 / (1 + SNR)^γ", parameter: { name: "γ", min: 0.5, max: 2, step: 0.5, start: 1 }, at: (l, g) => sigmoid(-l) ** g },
  edm: { name: "(σ² + σ_data²) / (σ σ_data)²", at: (l) => (Math.exp(-l) + VARIANCE) / (Math.exp(-l) * VARIANCE) },
  elbo: { name: "so that w = 1", whole: true, at: () => 1 },
  sigmoid: {
    name: "so that w = sigmoid(k − λ)",
    whole: true,
    parameter: { name: "k", min: -2, max: 6, step: 1, start: 2 },
    at: (l, k) => sigmoid(k - l),
  },
  monotonic: { name: "so that w is EDM-monotonic", whole: true, at: (l) => edm(Math.max(l, EDM_PEAK)) },
};

export const OBJECTIVES = {
  elbo: { name: "ELBO (VDM)", prediction: "eps", levels: "vdm", weight: "one" },
  "eps-cosine": { name: "ε, cosine (iDDPM)", prediction: "eps", levels: "cosine", weight: "one" },
  "eps-vp": { name: "ε, VP (DDPM)", prediction: "eps", levels: "vp", weight: "one" },
  "v-cosine": { name: "v, cosine", prediction: "v", levels: "cosine", weight: "one" },
  "fm-ot": { name: "flow matching, OT", prediction: "velocity", levels: "straight", weight: "one" },
  indi: { name: "InDI", prediction: "x0", levels: "straight", weight: "one" },
  edm: { name: "EDM", prediction: "x0", levels: "edm", weight: "edm" },
  p2: { name: "P2", prediction: "eps", levels: "cosine", weight: "p2" },
  "min-snr": { name: "Min-SNR", prediction: "x0", levels: "cosine", weight: "min" },
  "snr-trunc": { name: "truncated SNR", prediction: "x0", levels: "cosine", weight: "max" },
  sigmoid: { name: "sigmoid", prediction: "eps", levels: "cosine", weight: "sigmoid" },
  "edm-monotonic": { name: "EDM-monotonic", prediction: "eps", levels: "cosine", weight: "monotonic" },
};

// w(λ), up to a factor.
export function weighting({ prediction, levels, weight, parameter }, l) {
  const { path, density } = LEVELS[levels];
  const { whole, at } = WEIGHTS[weight];
  return at(l, parameter) * (whole ? 1 : density(l) * PREDICTIONS[prediction].scale(path, l));
}

// Mean of the squared error of the noise over dimensions, and of its square, for the best network on Gaussian data with
// variances that fall as 1/k, as those of small images do. At variance s² the error of ε is normal, of variance
// α²s² / (α²s² + σ²).
const LOG_VARIANCES = (() => {
  const harmonic = Array.from({ length: DIMENSIONS }, (_, k) => 1 / (k + 1));
  const scale = (VARIANCE * DIMENSIONS) / harmonic.reduce((sum, value) => sum + value, 0);
  return harmonic.map((value) => Math.log(scale * value));
})();

export function error(l) {
  let first = 0;
  let second = 0;
  for (const log of LOG_VARIANCES) {
    const variance = sigmoid(l + log);
    first += variance / DIMENSIONS;
    second += (2 * variance ** 2) / DIMENSIONS ** 2;
  }
  return { mean: first, square: first ** 2 + second };
}

// Integral by the trapezoidal rule on equally spaced λ.
const integral = (values, step) => step * (values.reduce((sum, value) => sum + value, 0) - (values[0] + values[values.length - 1]) / 2);
const scaled = (values, by) => values.map((value) => value / by);

// The λ below which the given shares of a density lie.
function quantiles(ls, density, shares) {
  const below = [0];
  for (let i = 1; i < ls.length; i++) below.push(below[i - 1] + (density[i - 1] + density[i]) / 2);
  return shares.map((share) => {
    const wanted = share * below[below.length - 1];
    const i = below.findIndex((value) => value >= wanted);
    return i === 0 ? ls[0] : ls[i - 1] + ((ls[i] - ls[i - 1]) * (wanted - below[i - 1])) / (below[i] - below[i - 1]);
  });
}

// Where w rises with λ: [[from, to], ...], ends inside the range by the parabola through the three values about them.
function rises(ls, w) {
  const rising = w.slice(1).map((value, i) => value > w[i] * (1 + 1e-12));
  const turn = (i) => {
    if (i === 0 || i === ls.length - 1) return ls[i];
    const bend = w[i - 1] - 2 * w[i] + w[i + 1];
    return ls[i] + (bend === 0 ? 0 : ((ls[1] - ls[0]) * (w[i - 1] - w[i + 1])) / (2 * bend));
  };
  const found = [];
  rising.forEach((up, i) => {
    if (up && !rising[i - 1]) found.push([turn(i), ls[ls.length - 1]]);
    if (up && rising[i + 1] === false) found[found.length - 1][1] = turn(i + 1);
  });
  return found;
}

export const DRAWS = {
  own: { name: "as the objective does", density: (l, w, error, levels) => levels.density(l) },
  uniform: { name: "λ uniform", density: () => 1 },
  adaptive: { name: "adaptive: p ∝ w × error", density: (l, w, { mean }) => w * mean },
  least: { name: "of least variance", density: (l, w, { square }) => w * Math.sqrt(square) },
};

// Everything that is drawn and said of an objective on λ from -cut to cut, or to where its path ends.
export function analyse(objective, draw, cut) {
  const levels = LEVELS[objective.levels];
  const from = Math.max(-cut, levels.first ?? -cut);
  const step = (cut - from) / (GRID - 1);
  const ls = Array.from({ length: GRID }, (_, i) => from + i * step);
  const raw = ls.map((l) => weighting(objective, l));
  const w = scaled(raw, Math.max(...raw));
  const errors = ls.map(error);
  const loss = w.map((value, i) => value * errors[i].mean);
  const total = integral(loss, step);
  const plain = ls.map((l, i) => DRAWS[draw].density(l, w[i], errors[i], levels));
  const drawn = scaled(plain, integral(plain, step));
  const squares = w.map((value, i) => (value ** 2 * errors[i].square) / drawn[i]);
  const falls = w.slice(1).map((value, i) => (w[i] - value) / w[0]);
  const sum = (sign) => falls.reduce((part, fall) => part + Math.max(sign * fall, 0), 0);
  return {
    ls,
    w,
    drawn,
    loss: scaled(loss, total),
    error: errors.map(({ mean }) => mean),
    law: falls.map((fall) => fall / step), // between one λ and the next
    rises: rises(ls, w),
    above: sum(1),
    below: sum(-1),
    clean: w[GRID - 1] / w[0],
    halfDrawn: quantiles(ls, drawn, [0.25, 0.75]),
    halfLoss: quantiles(ls, loss, [0.25, 0.75]),
    draws: 1e4 * (integral(squares, step) / total ** 2 - 1), // for a standard error of 1 %
  };
}
