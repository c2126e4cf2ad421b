// Trajectories of a law in one dimension, exact and by a student, and γ-sampling on them: the mathematics of week 8's
// figure. Time is the noise level: x_t = x0 + t ε.

const POINTS = 400; // a law is its quantiles at (i + ½) / POINTS
const NODES = 16; // and normal noise on each is as many values
export const STEPS = [1, 2, 4, 8, 16, 32];
export const GAMMAS = [0, 0.5, 1];

// Φ(−z) for z >= 0, by Chebyshev's approximation of erfc; relative error below 2e-7 (Press et al., Numerical Recipes).
const ERFC = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
];
function tail(z) {
  const x = z / Math.SQRT2;
  const t = 1 / (1 + x / 2);
  return (t * Math.exp(-x * x + ERFC.reduceRight((sum, c) => c + t * sum, 0))) / 2;
}
export const normalBelow = (z) => (z < 0 ? tail(-z) : 1 - tail(z));

// Equal Gaussians at `means` with noise t on them.
export const deviation = ({ std }, t) => Math.hypot(std, t);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
export const below = (law, x, t) => mean(law.means.map((m) => normalBelow((x - m) / deviation(law, t))));
export const density = (law, x, t) => {
  const spread = deviation(law, t);
  return mean(law.means.map((m) => Math.exp(-0.5 * ((x - m) / spread) ** 2))) / (spread * Math.sqrt(2 * Math.PI));
};
export function denoised(law, x, t) {
  const variance = deviation(law, t) ** 2;
  const logits = law.means.map((m) => -((x - m) ** 2) / (2 * variance));
  const top = Math.max(...logits);
  const weights = logits.map((value) => Math.exp(value - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const centre = law.means.reduce((sum, m, k) => sum + (weights[k] / total) * m, 0);
  return x + (t ** 2 / variance) * (centre - x);
}

// Where a share of the law lies below; for shares over a half by the mirrored law, whose small numbers have all digits.
export function quantile(law, share, t) {
  if (share > 0.5) return -quantile(mirrored(law), 1 - share, t);
  const reach = 12 * deviation(law, t);
  let [low, high] = [Math.min(...law.means) - reach, Math.max(...law.means) + reach];
  let [x, moved] = [(low + high) / 2, Infinity];
  for (let n = 0; n < 80 && moved > 1e-12; n++) {
    const over = below(law, x, t) - share;
    if (over > 0) high = x;
    else low = x;
    const newton = x - over / density(law, x, t);
    const next = newton > low && newton < high ? newton : (low + high) / 2;
    [x, moved] = [next, Math.abs(next - x)];
  }
  return x;
}
const mirrored = (law) => ({ ...law, means: law.means.map((m) => -m) });

// Trajectories in one dimension do not cross: each keeps the share of the law that is below it.
export function exactJump(law, x, t, s) {
  const share = below(law, x, t);
  return share > 0.5 ? -quantile(mirrored(law), below(mirrored(law), -x, t), s) : quantile(law, share, s);
}

const silu = (value) => value / (1 + Math.exp(-value));
const dot = (row, values, skip = 0) => values.reduce((sum, value, k) => sum + row[k + skip] * value, 0);

// g of a network: x ↦ g(x, t, s), with all that depends on the times alone computed once.
function networkG({ law, tensors }, t, s) {
  const data = law.sigma_data ** 2;
  const [skip, out] = [data / (t * t + data), (t * law.sigma_data) / Math.sqrt(t * t + data)];
  const into = 1 / Math.sqrt(t * t + data);
  const times = [t, s].flatMap((time) => {
    const phases = tensors["embed.freqs"].map((f) => (2 * Math.PI * f * Math.log(time)) / 4);
    return [...phases.map(Math.sin), ...phases.map(Math.cos)];
  });
  const first = tensors["hidden.0.weight"];
  const offset = first.map((row, j) => tensors["hidden.0.bias"][j] + dot(row, times, 1));
  const gain = tensors["gain.bias"][0] + dot(tensors["gain.weight"][0], times);
  const layers = [];
  for (let k = 1; tensors[`hidden.${k}.weight`]; k++) {
    layers.push([tensors[`hidden.${k}.weight`].map((row) => Float64Array.from(row)), tensors[`hidden.${k}.bias`]]);
  }
  return (x) => {
    let h = Float64Array.from(offset, (b, j) => silu(b + first[j][0] * into * x));
    for (const [rows, bias] of layers) {
      const next = new Float64Array(rows.length);
      for (let j = 0; j < rows.length; j++) {
        let sum = bias[j];
        for (let i = 0; i < h.length; i++) sum += rows[j][i] * h[i];
        next[j] = silu(sum);
      }
      h = next;
    }
    return skip * x + out * (tensors["last.bias"][0] + dot(tensors["last.weight"][0], h) + gain * into * x);
  };
}

// Who jumps. Each makes x ↦ g(x, t, s) from the times; G = (s/t) x + (1 − s/t) g.
export const JUMPERS = {
  student: { name: "the trained student", g: networkG },
  untrained: { name: "an untrained student", g: ({ law }, t) => (x) => (law.sigma_data ** 2 / (t * t + law.sigma_data ** 2)) * x },
  exact: {
    name: "the exact trajectories",
    g: ({ law }, t, s) => (s < t ? (x) => (t * exactJump(law, x, t, s) - s * x) / (t - s) : (x) => denoised(law, x, t)),
  },
};
export function jump(student, who, t, s) {
  const g = JUMPERS[who].g(student, t, s);
  return (x) => (s < t ? (s / t) * x + (1 - s / t) * g(x) : x);
}

// steps + 1 times from t to s, evenly spaced in t^{1/ρ}.
export function timesBetween({ times: { rho } }, t, s, steps) {
  const [high, low] = [t ** (1 / rho), s ** (1 / rho)];
  const inner = Array.from({ length: steps - 1 }, (_, n) => (high + ((n + 1) / steps) * (low - high)) ** rho);
  return [t, ...inner, s];
}

// Where a jump ends whose missing noise brings it up to `next`, and that noise's deviation.
export function jumpEnd(next, end, gamma) {
  const s = Math.sqrt(1 - gamma * gamma) * (next - end) + end;
  return { s, spread: next > end ? Math.sqrt(Math.max(0, next * next - s * s)) : 0 };
}

// One path: for each step where it starts, where its jump ends, and where noise then takes it.
export function followed(student, who, x, times, gamma, normals) {
  const end = times[times.length - 1];
  return times.slice(1).map((next, n) => {
    const { s, spread } = jumpEnd(next, end, gamma);
    const from = { t: times[n], x };
    const to = { t: s, x: jump(student, who, times[n], s)(x) };
    x = to.x + (spread > 0 ? spread * normals[n] : 0);
    return { from, to, noised: { t: next, x } };
  });
}

const shares = (n) => Array.from({ length: n }, (_, i) => (i + 0.5) / n);
export const quantiles = (law, t) => Float64Array.from(shares(POINTS), (share) => quantile(law, share, t));

// Normal noise for each point of a law, NODES values each: the quantiles at (j + shift) / NODES, with another shift for
// each point, so that points and values together fill the plane evenly (a lattice).
const GOLDEN = (Math.sqrt(5) - 1) / 2;
const noise = Array.from({ length: POINTS }, (_, i) => {
  const shift = ((i + 0.5) * GOLDEN) % 1;
  return Float64Array.from({ length: NODES }, (_, j) => quantile({ means: [0], std: 1 }, (j + shift) / NODES, 0));
});

// A law with normal noise added: all pairs of a point and a value, sorted, and the mean of each NODES of them.
export function withNoise(points, spread) {
  const all = new Float64Array(points.length * NODES);
  points.forEach((x, i) => noise[i].forEach((z, j) => (all[i * NODES + j] = x + spread * z)));
  all.sort();
  return points.map((_, i) => mean(all.subarray(i * NODES, (i + 1) * NODES)));
}

// The law at the end of γ-sampling, from the exact law at times[0]; nothing is drawn.
export function lawAfter(student, who, times, gamma, start) {
  const end = times[times.length - 1];
  let points = start;
  times.slice(1).forEach((next, n) => {
    const { s, spread } = jumpEnd(next, end, gamma);
    points = points.map(jump(student, who, times[n], s));
    if (spread > 0) points = withNoise(points, spread);
  });
  return points.sort();
}

// Wasserstein-1 of two laws by their quantiles.
export const distance = (one, other) => mean([...one].map((x, i) => Math.abs(x - other[i])));

// A stream of normals that is the same everywhere: mulberry32, and the method of Box and Muller.
export function normals(seed, count) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  return Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

export async function load() {
  const answer = await fetch(new URL("ctm-student.json", import.meta.url));
  if (!answer.ok) throw new Error(`ctm-student.json: ${answer.status}`);
  return answer.json();
}
