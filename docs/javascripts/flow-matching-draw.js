// The exact marginal flow of points that the reader draws, along the OT and the VP path: the page of week 7.
// Noise is at t = 0 and data at t = 1, as in the paper.

const SHOWN = 3.2;
const GAP = 0.15;
const LIMIT = 240;
const PARTICLES = 160;
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
const SOLVERS = {
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

const pairs = (places) => Array.from({ length: places.length / 2 }, (_, k) => [places[2 * k], places[2 * k + 1]]);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const distance = ([ax, ay], [bx, by]) => Math.sqrt((ax - bx) ** 2 + (ay - by) ** 2);
const between = (a, b) => pairs(a).map((place, k) => distance(place, [b[2 * k], b[2 * k + 1]]));

// The flow of the points along one path, as good as exactly: by RK4 with short steps.
function exactFlow(path, points) {
  const field = marginalField(path, points);
  const exact = solve(field, NOISE, fineTimes(path.end), SOLVERS.RK4.step);
  const end = exact.stops[FINE];
  const length = exact.stops.slice(1).reduce((sum, stop, n) => sum + mean(between(stop, exact.stops[n])), 0);
  return { field, end, exact: thinned(exact, 2), detour: length / mean(between(end, NOISE)) };
}

// The same flow by a solver with equal steps, and how far it is from the exact one.
function solvedFlow(path, points, { field, end }, { calls, step }, evaluations) {
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
function towards(start, end) {
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
const FIRST = "Two moons";

const button = (name) => `<div><button type="button" value="${name}">${name}</button></div>`;
const panel = (name) =>
  `<svg viewBox="0 0 340 366" role="img" aria-labelledby="flow-${name}"><title id="flow-${name}"></title><g></g></svg>`;

const WIDGET = `
  <div class="drawing">
    <svg viewBox="0 0 340 340" role="img" aria-labelledby="flow-pad"><title id="flow-pad"></title><g></g></svg>
    <div>
      <form class="controls" aria-label="What is drawn">
        ${Object.keys(SHAPES).map(button).join("\n        ")}
        ${button("Undo")}
        ${button("Clear")}
      </form>
      <form class="controls" aria-label="Settings of the flow">
        <div><label for="f-solver">Solver</label>
          <select id="f-solver" name="solver">${Object.keys(SOLVERS).map((name) => `<option>${name}</option>`).join("")}</select></div>
        <div><label for="f-lines">Lines</label>
          <select id="f-lines" name="lines"><option value="solved">the solver's paths</option><option value="exact">exact paths</option>
            <option value="field">the field at time t</option></select></div>
        <div><label for="f-evaluations">Evaluations <span class="value"></span></label>
          <input id="f-evaluations" name="evaluations" type="range" min="4" max="80" step="4" value="8"></div>
      </form>
    </div>
  </div>
  <form class="controls clock" aria-label="Play">
    <div><button type="button" name="play">Play</button></div>
    <div class="wide"><label for="f-time">Time t, from noise to data <span class="value"></span></label>
      <input id="f-time" name="time" type="range" min="0" max="1" step="0.01" value="1"></div>
  </form>
  <div class="panels">${Object.keys(PATHS).map(panel).join("")}</div>
  <p role="status"></p>`;

const SIZE = 340;
const across = (x) => (((x + SHOWN) / (2 * SHOWN)) * SIZE).toFixed(1);
const down = (y) => (((SHOWN - y) / (2 * SHOWN)) * SIZE).toFixed(1);
const dots = (places, colour, width) =>
  `<path d="${places.map(([x, y]) => `M${across(x)},${down(y)}h0`).join("")}" stroke="${colour}" stroke-width="${width}" stroke-linecap="round"/>`;

// Where the particles are at time t: on the straight line between two stops.
function placesAt({ times, stops }, t) {
  const next = times.findIndex((time) => time > t);
  if (next < 0) return stops[stops.length - 1];
  const share = (t - times[next - 1]) / (times[next] - times[next - 1]);
  return stops[next - 1].map((x, k) => x + share * (stops[next][k] - x));
}

function pathLines(run, t) {
  const shown = [...run.stops.filter((_, n) => run.times[n] < t), placesAt(run, t)].map(pairs);
  const line = (k) => `M${shown.map((stop) => `${across(stop[k][0])},${down(stop[k][1])}`).join("L")}`;
  return `<path d="${shown[0].map((_, k) => line(k)).join("")}" fill="none" stroke-width="1" opacity="0.4"/>`;
}

// Each line leads from a dot where the field is asked for to where it points; long velocities are shown shortened.
function fieldLines(field, t) {
  const marks = Array.from({ length: 13 }, (_, k) => ((k - 6) * SHOWN) / 6.5);
  const places = marks.flatMap((x) => marks.map((y) => [x, y]));
  const velocity = pairs(field(Float64Array.from(places.flat()), t));
  const line = ([x, y], k) => {
    const [u, v] = velocity[k];
    const speed = Math.hypot(u, v);
    const length = speed > 0 ? (0.45 * Math.tanh(speed / 2)) / speed : 0;
    return `M${across(x)},${down(y)}L${across(x + length * u)},${down(y + length * v)}`;
  };
  return (
    `<path d="${places.map(line).join("")}" fill="none" stroke-width="1.2" opacity="0.8"/>` +
    `<g opacity="0.8">${dots(places, "inherit", 3)}</g>`
  );
}

function start(root) {
  root.innerHTML = WIDGET;
  const [drawing, settings, clock] = root.querySelectorAll("form");
  const pad = root.querySelector(".drawing svg");
  const panels = [...root.querySelectorAll(".panels svg")];
  const names = Object.keys(PATHS);
  const history = [SHAPES[FIRST]];
  let exact = { of: null };
  let flows = null;
  let pending = 0;
  let playing = 0;
  let last = null; // the last point of the stroke that is being drawn

  const points = () => history[history.length - 1];
  const time = () => Number(clock.elements.time.value);

  const showPoints = () => {
    pad.querySelector("g").innerHTML =
      `<path d="M170,0V340M0,170H340" stroke="var(--rule)"/>` + dots(points(), "var(--md-default-fg-color)", 6);
    pad.querySelector("title").textContent = `Square to draw in, with ${points().length} points. The shapes are buttons.`;
    drawing.querySelector("[value=Undo]").disabled = history.length === 1;
    drawing.querySelector("[value=Clear]").disabled = points().length === 0;
  };

  const showTime = () => {
    const t = time();
    clock.querySelector(".value").textContent = t.toFixed(2);
    names.forEach((name, k) => {
      const now = Math.min(t, PATHS[name].end);
      const { signal, noise } = PATHS[name].at(now);
      const lines = settings.elements.lines.value;
      const drawn = !flows ? "" : lines === "field" ? fieldLines(flows[k].field, now) : pathLines(flows[k][lines], now);
      const places = flows ? placesAt(flows[k].solved, now) : NOISE;
      const words = `${name}: signal ${signal.toFixed(2)}, noise ${noise.toFixed(2)}`;
      panels[k].querySelector("g").innerHTML =
        `<svg width="340" height="340">${dots(points(), "var(--md-default-fg-color--lighter)", 6)}` +
        `<g stroke="var(--line-${k + 1})">${drawn}</g>${dots(pairs(places), `var(--line-${k + 1})`, 4)}</svg>` +
        `<path d="M0,340H340" stroke="var(--rule)"/>` +
        `<text x="170" y="359" text-anchor="middle" fill="var(--md-default-fg-color)">${words}</text>`;
      panels[k].querySelector("title").textContent = `${PARTICLES} particles of the ${name} flow at t = ${t.toFixed(2)}. ${words}.`;
    });
  };

  const compute = () => {
    const [solver, evaluations] = [settings.elements.solver.value, Number(settings.elements.evaluations.value)];
    settings.querySelector(".value").textContent = evaluations;
    if (exact.of !== points()) {
      exact = { of: points(), flows: points().length ? names.map((name) => exactFlow(PATHS[name], points())) : null };
    }
    flows = exact.flows?.map((one, k) => ({
      ...one,
      ...solvedFlow(PATHS[names[k]], points(), one, SOLVERS[solver], evaluations),
    }));
    const said = (name, { nfe, error, nearest, detour }) =>
      `${name}, ${nfe} evaluations: ${error.toFixed(3)} from the exact ends, ${nearest.toFixed(3)} from the nearest point. ` +
      `Exact paths are ${detour.toFixed(2)} times as long as straight ones.`;
    const count = `${points().length} ${points().length === 1 ? "point" : "points"}${points().length < LIMIT ? "" : ", and no more fit"}`;
    root.querySelector("[role=status]").textContent = flows
      ? [`${count}; ${solver}; means over ${PARTICLES} particles.`, ...names.map((name, k) => said(name, flows[k]))].join("\n")
      : "No points. Draw some in the square, or take a shape.";
    showTime();
  };

  const later = () => {
    clearTimeout(pending); // a line that is being drawn, or a slider that is dragged, asks for many flows: make the last
    pending = setTimeout(compute, 30);
  };
  const change = (next) => {
    history.push(next);
    showPoints();
    later();
  };

  drawing.addEventListener("click", ({ target: { value } }) => {
    if (value in SHAPES) change(SHAPES[value]);
    else if (value === "Clear") change([]);
    else if (value === "Undo") {
      history.pop();
      showPoints();
      later();
    }
  });
  settings.addEventListener("input", (event) => (event.target.name === "lines" ? showTime() : later()));

  const placeOf = (event) => {
    const box = pad.getBoundingClientRect();
    const within = (share) => SHOWN * Math.max(-1, Math.min(1, 2 * share - 1));
    return [within((event.clientX - box.left) / box.width), -within((event.clientY - box.top) / box.height)];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    pad.setPointerCapture(event.pointerId);
    last = placeOf(event);
    change([...points(), last].slice(0, LIMIT));
  });
  pad.addEventListener("pointermove", (event) => {
    if (!last || !event.isPrimary) return;
    const added = towards(last, placeOf(event));
    if (!added.length) return;
    last = added[added.length - 1];
    history[history.length - 1] = [...points(), ...added].slice(0, LIMIT); // one stroke is one step of Undo
    showPoints();
    later();
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (last = null));

  const pause = () => {
    clearInterval(playing);
    playing = 0;
    clock.elements.play.textContent = "Play";
  };
  clock.elements.play.addEventListener("click", () => {
    if (playing) return pause();
    if (time() === 1) clock.elements.time.value = 0;
    // Who asked for less motion gets a few still pictures instead of a film.
    const [wait, ticks] = matchMedia("(prefers-reduced-motion: reduce)").matches ? [600, 10] : [30, 1];
    clock.elements.play.textContent = "Pause";
    playing = setInterval(() => {
      clock.elements.time.stepUp(ticks);
      showTime();
      if (time() === 1) pause();
    }, wait);
    showTime();
  });
  clock.addEventListener("input", () => {
    pause();
    showTime();
  });
  for (const form of [drawing, settings, clock]) form.addEventListener("submit", (event) => event.preventDefault());
  showPoints();
  settings.elements.solver.value = "midpoint";
  compute();
}

const root = document.querySelector("#flow-matching-draw");
if (root) start(root);
