// Score-entropy discrete diffusion with an exact score. Tokens are 0 .. V-1, the mask is V; all numbers are 64-bit.
// The source is a Markov chain that remembers two letters, so every sum over sentences is a forward-backward recursion.

export const LETTERS = "abcdefghijklmnopqrstuvwxyz ";

// The chain counted from a text: p(c | a, b) shrunk to p(c | b), and that to p(c), so that nothing is impossible.
// With memory 1 the older letter is ignored.
export function sourceOf(text, memory) {
  const V = LETTERS.length;
  const tokens = [...text.trim().replace(/\s+/g, " ")].map((letter) => LETTERS.indexOf(letter));
  const single = new Float64Array(V).fill(1);
  const pairs = new Float64Array(V * V);
  const triples = new Float64Array(V * V * V);
  tokens.forEach((c, i) => {
    single[c] += 1;
    if (i > 0) pairs[tokens[i - 1] * V + c] += 1;
    if (i > 1) triples[(tokens[i - 2] * V + tokens[i - 1]) * V + c] += 1;
  });
  const sum = (counts) => counts.reduce((total, count) => total + count, 0);
  const shrunk = (counts, prior) => {
    const total = sum(counts) + 1;
    return counts.map((count, c) => (count + prior[c]) / total);
  };
  const first = single.map((count) => count / sum(single));
  const second = new Float64Array(V * V);
  const next = new Float64Array(V * V * V);
  for (let b = 0; b < V; b++) second.set(shrunk(pairs.slice(b * V, (b + 1) * V), first), b * V);
  for (let ab = 0; ab < V * V; ab++) {
    const prior = second.slice((ab % V) * V, ((ab % V) + 1) * V);
    next.set(memory === 1 ? prior : shrunk(triples.slice(ab * V, (ab + 1) * V), prior), ab * V);
  }
  return { vocab: V, first, second, next };
}

export function logProb({ vocab: V, first, second, next }, x) {
  let total = Math.log(first[x[0]]) + Math.log(second[x[0] * V + x[1]]);
  for (let i = 2; i < x.length; i++) total += Math.log(next[(x[i - 2] * V + x[i - 1]) * V + x[i]]);
  return total;
}

// Q = base 1^T - I, with columns that sum to 0: token a leaves at rate 1 and lands on y with probability base[y].
export function graphOf(name, vocab) {
  if (name === "uniform") return { size: vocab, base: new Float64Array(vocab).fill(1 / vocab), mask: -1 };
  const base = new Float64Array(vocab + 1);
  base[vocab] = 1;
  return { size: vocab + 1, base, mask: vocab };
}

// e^{sigma Q}(y, a): where token a is after noise sigma. `base 1^T` is a projection, so the exponential has two terms.
export function transition({ base }, sigma, y, a) {
  return (y === a ? Math.exp(-sigma) : 0) - Math.expm1(-sigma) * base[y];
}

const EPS = 1e-3;
const SIGMA_MIN = 1e-3;
const SIGMA_MAX = 20;

// Total noise and its rate at time t in (0, 1].
export const NOISE = {
  loglinear: (t) => ({ sigma: -Math.log1p(-(1 - EPS) * t), rate: (1 - EPS) / (1 - (1 - EPS) * t) }),
  geometric: (t) => {
    const sigma = SIGMA_MIN ** (1 - t) * SIGMA_MAX ** t;
    return { sigma, rate: sigma * Math.log(SIGMA_MAX / SIGMA_MIN) };
  },
};

function normalise(values) {
  let total = 0;
  for (const value of values) total += value;
  for (let i = 0; i < values.length; i++) values[i] /= total;
}

// For each position i, the law of its clean letter given all *other* positions: p(x0^i | x_t without its i-th token).
// evidence[j][a] is the probability of what is seen at j if the clean letter there is a.
export function leaveOneOut({ vocab: V, first, second, next }, evidence) {
  const length = evidence.length;
  // ahead[i][b, c]: letters b, c at i-1, i and the evidence before i. behind[i][b, c]: the evidence after i, given them.
  const ahead = [null, second.map((p, bc) => first[Math.floor(bc / V)] * evidence[0][Math.floor(bc / V)] * p)];
  normalise(ahead[1]);
  for (let i = 2; i < length; i++) {
    const message = new Float64Array(V * V);
    for (let ab = 0; ab < V * V; ab++) {
      const weight = ahead[i - 1][ab] * evidence[i - 1][ab % V];
      if (weight === 0) continue;
      const b = (ab % V) * V;
      for (let c = 0; c < V; c++) message[b + c] += weight * next[ab * V + c];
    }
    normalise(message);
    ahead.push(message);
  }
  const laws = new Array(length);
  let behind = new Float64Array(V * V).fill(1);
  for (let i = length - 1; i > 0; i--) {
    laws[i] = new Float64Array(V);
    for (let bc = 0; bc < V * V; bc++) laws[i][bc % V] += ahead[i][bc] * behind[bc];
    const message = new Float64Array(V * V);
    for (let ab = 0; ab < V * V; ab++) {
      const b = (ab % V) * V;
      for (let c = 0; c < V; c++) {
        const seen = evidence[i][c];
        if (seen > 0) message[ab] += (i > 1 ? next[ab * V + c] : second[b + c]) * seen * behind[b + c];
      }
    }
    normalise(message);
    behind = message;
  }
  // At i = 1 the older letter does not exist: rows ab with the same b hold the same number, so the row a = 0 will do.
  laws[0] = first.map((p, b) => p * behind[b]);
  laws.forEach(normalise);
  return laws;
}

// The concrete score s[i][y] = p_t(x with its i-th token y) / p_t(x), with given letters known to be clean.
export function concreteScore(source, graph, x, sigma, given) {
  const evidence = x.map((seen, i) =>
    Float64Array.from({ length: source.vocab }, (_, a) => (given[i] ? Number(seen === a) : transition(graph, sigma, seen, a))),
  );
  return leaveOneOut(source, evidence).map((law, i) => {
    const marginal = (y) => Math.exp(-sigma) * (law[y] ?? 0) - Math.expm1(-sigma) * graph.base[y];
    return Float64Array.from({ length: graph.size }, (_, y) => marginal(y) / marginal(x[i]));
  });
}

// Tweedie tau-leaping: p(x_s = y | x_t = x) = (e^{-dsigma Q} s)_y e^{dsigma Q}(x, y), exact for each position by itself.
export function tweedie(graph, score, x, dsigma) {
  let total = 0;
  for (const ratio of score) total += ratio;
  return score.map((ratio, y) => {
    const earlier = Math.exp(dsigma) * ratio - Math.expm1(dsigma) * graph.base[y] * total;
    return Math.max(earlier, 0) * transition(graph, dsigma, x, y);
  });
}

// Euler: jump to y with probability h Q(x, y) s_y, where h is the step of time times the rate of noise.
export function euler(graph, score, x, h) {
  const jumps = score.map((ratio, y) => (y === x ? 0 : h * graph.base[x] * ratio));
  let leaving = 0;
  for (const jump of jumps) leaving += jump;
  jumps[x] = Math.max(1 - leaving, 0);
  return jumps;
}

// Uniform numbers in [0, 1) from a 32-bit generator (mulberry32), two calls for 53 bits: the same walk for the same seed.
export function uniforms(seed) {
  const bits32 = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return (bits ^ (bits >>> 14)) >>> 0;
  };
  return () => ((bits32() >>> 5) * 67108864 + (bits32() >>> 6)) / 9007199254740992;
}

// An index with probability proportional to its weight, by inversion.
export function draw(weights, uniform) {
  let total = 0;
  for (const weight of weights) total += weight;
  let left = uniform() * total;
  let last = 0;
  for (let y = 0; y < weights.length; y++) {
    if (weights[y] <= 0) continue;
    last = y;
    left -= weights[y];
    if (left < 0) return y;
  }
  return last;
}

// One step of the forward process: each letter that is not given moves on by the noise between the two times.
export function noiseStep(graph, x, given, dsigma, uniform) {
  return x.map((a, i) => {
    const law = Float64Array.from(graph.base, (_, y) => transition(graph, dsigma, y, a));
    return given[i] ? a : draw(law, uniform);
  });
}

// One step of the reverse process at noise sigma. `leap` is tweedie or euler with its step; the last step drops the mask.
export function denoiseStep(source, graph, x, given, sigma, leap, last, uniform) {
  const score = concreteScore(source, graph, x, sigma, given);
  return x.map((token, i) => {
    if (given[i]) return token;
    const law = leap(score[i], token);
    if (last && graph.mask >= 0) law[graph.mask] = 0;
    return draw(law, uniform);
  });
}
