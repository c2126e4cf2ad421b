// The square to draw in, and the two flows of what is drawn: the page of week 7.

import { exactFlow, NOISE, pairs, PARTICLES, PATHS, SHAPES, solvedFlow, SOLVERS, towards } from "./flow-matching-flow.js";

const SHOWN = 3.2;
const LIMIT = 240;
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
  `<path d="${places.map(([x, y]) => `M${across(x)},${down(y)}h0`).join("")}" stroke="${colour}" ` +
  `stroke-width="${width}" stroke-linecap="round"/>`;

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
