// The exact marginal flow of a few points along the OT and the VP path, solvers, and shapes made of points: week 7.
// Noise is at t = 0 and data at t = 1, as in the paper.

export const PARTICLES = 160;
const GAP = 0.15;
const FINE = 50;
// Noise that is left at the end of both paths. The VP field is singular at t = 1, so VP stops where its noise is this.
const SIGMA_MIN = 0.05;
const BETA_MIN = 0.1;
const BETA_MAX = 20;

// Signal and noise of x_t = signal x1 + noise x0, and their derivatives in t; `end` is where the path stops.
export const PATHS = {
  OT: {
    end: 1,
    at: (t) => ({ signal: t, noise: 1 - (1 - SIGMA_MIN) * t, signalRate: 1, noiseRate: -(1 - SIGMA_MIN) }),
  },
  VP: {
    end: 1 - timeOfTotal(-Math.log1p(-(SIGMA_MIN ** 2))),
    at: (t) => {
      const s = 1 - t;
      const beta = BETA_MIN + s * (BETA_MAX - BETA_MIN);
      const total = s * BETA_MIN + (s * s * (BETA_MAX - BETA_MIN)) / 2;
      const signal = Math.exp(-total / 2);
      const noise = Math.sqrt(-Math.expm1(-total));
      const signalRate = (beta * signal) / 2;
      return { signal, noise, signalRate, noiseRate: (-signal * signalRate) / noise };
    },
  },
};

// The s at which the integral of VP's beta from 0 to s is `total`.
function timeOfTotal(total) {
  return (Math.sqrt(BETA_MIN ** 2 + 2 * (BETA_MAX - BETA_MIN) * total) - BETA_MIN) / (BETA_MAX - BETA_MIN);
}

// u_t(x) = sum_i w_i(x) u_t(x | x_i), w = softmax(-|x - mu_t(x_i)|^2 / 2 sigma_t^2). Theorem 3's u_t(x | x_i) is affine
// in x_i, so the mean of the points with these weights, E[x1 | x], is all that is needed. Places are [x, y, x, y, ...].
function marginalField(path, points) {
  const xs = Float64Array.from(points, (point) => point[0]);
  const ys = Float64Array.from(points, (point) => point[1]);
  const logs = new Float64Array(points.length);
  return (places, t) => {
    const { signal, noise, signalRate, noiseRate } = path.at(t);
    const shrink = noiseRate / noise;
    const scale = -1 / (2 * noise * noise);
    const velocity = new Float64Array(places.length);
    for (let k = 0; k < places.length; k += 2) {
      let top = -Infinity;
      for (let i = 0; i < xs.length; i++) {
        const dx = places[k] - signal * xs[i];
        const dy = places[k + 1] - signal * ys[i];
        logs[i] = scale * (dx * dx + dy * dy);
        if (logs[i] > top) top = logs[i];
      }
      let total = 0;
      let x = 0;
      let y = 0;
      for (let i = 0; i < xs.length; i++) {
        if (logs[i] < top - 40) continue; // nothing beside the others, in the digits that a number has
        const weight = Math.exp(logs[i] - top);
        total += weight;
        x += weight * xs[i];
        y += weight * ys[i];
      }
      velocity[k] = shrink * (places[k] - (signal * x) / total) + (signalRate * x) / total;
      velocity[k + 1] = shrink * (places[k + 1] - (signal * y) / total) + (signalRate * y) / total;
    }
    return velocity;
  };
}

const moved = (places, by, velocity) => places.map((x, k) => x + by * velocity[k]);

// One step from t to t + h of each solver, and how often it asks for the field.
export const SOLVERS = {
  euler: { calls: 1, step: (u, x, t, h) => moved(x, h, u(x, t)) },
  midpoint: { calls: 2, step: (u, x, t, h) => moved(x, h, u(moved(x, h / 2, u(x, t)), t + h / 2)) },
  RK4: {
    calls: 4,
    step: (u, x, t, h) => {
      const first = u(x, t);
      const second = u(moved(x, h / 2, first), t + h / 2);
      const third = u(moved(x, h / 2, second), t + h / 2);
      const fourth = u(moved(x, h, third), t + h);
      return x.map((place, k) => place + (h / 6) * (first[k] + 2 * second[k] + 2 * third[k] + fourth[k]));
    },
  },
};

// The stops of a solver from noise to data: their times, and where the particles are.
function solve(field, start, times, step) {
  const stops = [start];
  for (let n = 0; n + 1 < times.length; n++) stops.push(step(field, stops[n], times[n], times[n + 1] - times[n]));
  return { times, stops };
}

// Every `by`-th stop: enough to draw.
const thinned = ({ times, stops }, by) => ({ times: times.filter((_, n) => n % by === 0), stops: stops.filter((_, n) => n % by === 0) });

const uniformTimes = (end, steps) => Array.from({ length: steps + 1 }, (_, n) => (end * n) / steps);
// Shorter steps towards the end, where both fields are steep.
const fineTimes = (end) => uniformTimes(1, FINE).map((share) => end * (1 - (1 - share) ** 2));

export const pairs = (places) => Array.from({ length: places.length / 2 }, (_, k) => [places[2 * k], places[2 * k + 1]]);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const distance = ([ax, ay], [bx, by]) => Math.sqrt((ax - bx) ** 2 + (ay - by) ** 2);
const between = (a, b) => pairs(a).map((place, k) => distance(place, [b[2 * k], b[2 * k + 1]]));

// The flow of the points along one path, as good as exactly: by RK4 with short steps.
export function exactFlow(path, points) {
  const field = marginalField(path, points);
  const exact = solve(field, NOISE, fineTimes(path.end), SOLVERS.RK4.step);
  const end = exact.stops[FINE];
  const length = exact.stops.slice(1).reduce((sum, stop, n) => sum + mean(between(stop, exact.stops[n])), 0);
  return { field, end, exact: thinned(exact, 2), detour: length / mean(between(end, NOISE)) };
}

// The same flow by a solver with equal steps, and how far it is from the exact one.
export function solvedFlow(path, points, { field, end }, { calls, step }, evaluations) {
  let nfe = 0;
  const counted = (places, t) => {
    nfe += 1;
    return field(places, t);
  };
  const solved = solve(counted, NOISE, uniformTimes(path.end, evaluations / calls), step);
  const reached = solved.stops[solved.stops.length - 1];
  const nearest = pairs(reached).map((place) => Math.min(...points.map((point) => distance(place, point))));
  return { solved, nfe, error: mean(between(reached, end)), nearest: mean(nearest) };
}

// Normal draws from a 32-bit generator (mulberry32) by Box and Muller: the same particles on every visit.
function gaussianNoise(seed) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float64Array.from({ length: 2 * PARTICLES }, normal);
}
export const NOISE = gaussianNoise(7);

const arc = (count, radius, from, to, [x, y]) =>
  Array.from({ length: count }, (_, k) => {
    const angle = from + ((to - from) * k) / (count - 1);
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });

// Points from `start` towards `end` at distance GAP, without `start`.
export function towards(start, end) {
  const count = Math.floor(distance(start, end) / GAP + 1e-9);
  const share = GAP / distance(start, end);
  return Array.from({ length: count }, (_, k) => start.map((x, axis) => x + (k + 1) * share * (end[axis] - x)));
}
const stroke = (...corners) =>
  corners.slice(1).reduce((line, corner) => [...line, ...towards(line[line.length - 1], corner)], [corners[0]]);

const CELLS = [-2, -1, 0, 1];
const THIRDS = [1 / 6, 1 / 2, 5 / 6];
export const SHAPES = {
  "One point": [[1.5, 1]],
  "Two points": [[-1.5, 0], [1.5, 0]],
  Ring: arc(25, 1.5, 0, 2 * Math.PI, [0, 0]).slice(1),
  "Two moons": [...arc(24, 1.3, 0, Math.PI, [-0.65, -0.3]), ...arc(24, 1.3, Math.PI, 2 * Math.PI, [0.65, 0.3])],
  Letters: [
    ...stroke([-2.2, -1.2], [-2.2, 1.2], [-0.7, 1.2]),
    ...stroke([-2.05, 0.15], [-1, 0.15]),
    ...stroke([0.3, -1.2], [0.3, 1.2], [1.25, -0.3], [2.2, 1.2], [2.2, -1.2]),
  ],
  Checkerboard: CELLS.flatMap((i) =>
    CELLS.filter((j) => (i + j) % 2 === 0).flatMap((j) => THIRDS.flatMap((a) => THIRDS.map((b) => [i + a, j + b]))),
  ),
};
