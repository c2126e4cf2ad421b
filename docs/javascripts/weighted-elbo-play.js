// An objective put together by the reader, and what is made of it: w(λ), p_w(λ) and where the loss comes from. Week 2.

import { analyse, DRAWS, LEVELS, OBJECTIVES, PREDICTIONS, WEIGHTS } from "./weighted-elbo-weighting.js";

const FIRST = { objective: "eps-cosine", draw: "own", cut: 10 };
// What the instructions on the page ask for, in their order: a button's name, and what it sets beside the first settings.
const TRIES = [
  ["iDDPM", {}],
  ["Predict v instead", { prediction: "v" }],
  ["Flow matching", { objective: "fm-ot" }],
  ["ELBO", { objective: "elbo" }],
  ["EDM", { objective: "edm" }],
  ["EDM-monotonic", { objective: "edm-monotonic" }],
  ["Adaptive draws", { objective: "edm-monotonic", draw: "adaptive" }],
  ["Least variance", { objective: "edm-monotonic", draw: "least" }],
  ["Sigmoid, k = 2", { objective: "sigmoid" }],
  ["Sigmoid, k = 5", { objective: "sigmoid", parameter: 5 }],
  ["v, cut at ±20", { objective: "v-cosine", cut: 20 }],
  ["VP, velocity", { objective: "eps-vp", prediction: "velocity" }],
];

const options = (entries) => Object.entries(entries).map(([key, { name }]) => `<option value="${key}">${name}</option>`).join("");
const select = (name, label, entries, more = "") =>
  `<div><label for="w-${name}">${label}</label><select id="w-${name}" name="${name}">${options(entries)}${more}</select></div>`;

const WIDGET = `
  <form class="controls" aria-label="Settings of the objective">
    ${select("objective", "Objective", OBJECTIVES, '<option value="">your own</option>')}
    ${select("prediction", "The network predicts", PREDICTIONS)}
    ${select("levels", "Path and noise levels", LEVELS)}
    ${select("weight", "Weight on its squared error", WEIGHTS)}
    <div><label for="w-parameter"><span class="name"></span> <span class="value"></span></label>
      <input id="w-parameter" name="parameter" type="range"></div>
    ${select("draw", "λ is drawn", DRAWS)}
    <div><label for="w-cut">λ cut off at <span class="value"></span></label>
      <input id="w-cut" name="cut" type="range" min="6" max="20" step="2"></div>
  </form>
  <div class="controls" role="group" aria-label="Settings of the instructions">
    ${TRIES.map(([name], k) => `<div><button type="button" data-try="${k}">${name}</button></div>`).join("\n    ")}
  </div>
  <svg viewBox="0 0 720 636" role="img" aria-labelledby="w-title"><title id="w-title"></title>
    <defs><pattern id="w-hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <path d="M0,0V7" stroke="var(--line-2)" stroke-width="4"/></pattern></defs><g></g></svg>
  <p role="status"></p>`;

const [LEFT, RIGHT, HEIGHT] = [14, 706, 150];
const TOPS = [36, 236, 436];

// Three digits, with a comma at thousands.
const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");
const place = (l) => (Math.round(l * 100) / 100 || 0).toFixed(2).replace("-", "−"); // no −0.00

function picture({ ls, w, drawn, loss, error, law, clean }, cut) {
  const across = (l) => LEFT + ((l + cut) / (2 * cut)) * (RIGHT - LEFT);
  const points = (at, values, down) => values.map((value, i) => `${across(at[i]).toFixed(1)},${down(value).toFixed(1)}`).join("L");
  const line = (at, values, down, style) => `<path d="M${points(at, values, down)}" fill="none" ${style}/>`;
  const area = (at, values, down, style) =>
    `<path d="M${across(at[0])},${down(0)}L${points(at, values, down)}L${across(at[at.length - 1])},${down(0)}Z" ${style}/>`;
  const strip = (k, values) => {
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    return (value) => TOPS[k] + HEIGHT - ((value - low) / (high - low || 1)) * HEIGHT;
  };
  const zero = (down) => `<path d="M${LEFT},${down(0)}H${RIGHT}" stroke="var(--md-default-fg-color--lighter)"/>`;
  const thin = (values) => values.filter((_, i) => i % 4 === 0);
  const words = (k, text) => `<text x="${LEFT}" y="${TOPS[k] - 12}" fill="var(--md-default-fg-color)">${text}</text>`;

  const between = thin(law.map((_, i) => (ls[i] + ls[i + 1]) / 2));
  const [at, slope] = [thin(ls), thin(law)];
  const [first, second, third] = [strip(0, w), strip(1, law), strip(2, [...loss, ...drawn])];
  const shown = Math.max(0, Math.min(1, clean)) * HEIGHT;
  const unit = strip(2, [1]);
  const marks = [-1, -0.5, 0, 0.5, 1].map((share) => {
    const anchor = { "-1": "start", 1: "end" }[share] ?? "middle";
    return `<text x="${across(share * cut)}" y="608" text-anchor="${anchor}">${number(share * cut)}</text>`;
  });
  return (
    zero(first) + zero(second) + zero(third) +
    area(at, thin(w), first, 'fill="var(--line-1)" opacity="0.25"') + line(at, thin(w), first, 'stroke="var(--line-1)" stroke-width="2"') +
    area(between, slope.map((value) => Math.max(value, 0)), second, 'fill="var(--line-1)" opacity="0.25" data-part="above"') +
    area(between, slope.map((value) => Math.min(value, 0)), second, 'fill="url(#w-hatch)" data-part="below"') +
    line(between, slope, second, 'stroke="var(--md-default-fg-color)" stroke-width="1.5"') +
    `<rect x="${RIGHT - 7}" width="7" y="${second(0) - Math.min(shown, second(0) - TOPS[1])}" height="${Math.min(shown, second(0) - TOPS[1])}" fill="var(--line-1)"/>` +
    area(at, thin(loss), third, 'fill="var(--line-1)" opacity="0.25"') + line(at, thin(loss), third, 'stroke="var(--line-1)" stroke-width="2"') +
    line(at, thin(drawn), third, 'stroke="var(--line-2)" stroke-width="2" stroke-dasharray="7 4" data-part="drawn"') +
    line(at, thin(error), unit, 'stroke="var(--md-default-fg-color--light)" stroke-width="1.5" stroke-dasharray="1 4" stroke-linecap="round"') +
    words(0, "weighting w(λ)") +
    words(1, "p_w(λ), negative: hatched; bar: clean data") +
    words(2, "loss: filled; λ drawn: dashed; error: dotted") +
    `<g fill="var(--md-default-fg-color)">${marks.join("")}` +
    `<text x="${(LEFT + RIGHT) / 2}" y="630" text-anchor="middle">← more noise, log SNR λ, less noise →</text></g>`
  );
}

function sentences({ rises, above, below, clean, halfDrawn, halfLoss, draws }) {
  const [from, to] = [halfDrawn, halfLoss].map((ends) => `${place(ends[0])} and ${place(ends[1])}`);
  const where = rises.map((ends) => `from λ = ${place(ends[0])} to ${place(ends[1])}`).join(" and ");
  return [
    rises.length ? `Not monotone: w rises ${where}.` : "Monotone: w never rises with λ.",
    `p_w: ${number(above)} above zero, ${number(below)} below, ${number(clean)} at clean data.`,
    `Half of all λ are drawn between ${from}; half of the loss is between ${to}.`,
    `Draws for a standard error of 1 % of the loss: ${number(draws)}.`,
  ].join("\n");
}

function start(root) {
  root.innerHTML = WIDGET;
  const form = root.querySelector("form");
  const fields = form.elements;
  const text = (name, value, kind = "value") => (form.querySelector(`label[for=w-${name}] .${kind}`).textContent = value);

  // The slider is that of the weight's own parameter, at its usual value.
  const showParameter = (value) => {
    const { parameter } = WEIGHTS[fields.weight.value];
    fields.parameter.disabled = !parameter;
    text("parameter", parameter?.name ?? "No parameter", "name");
    if (parameter) for (const limit of ["min", "max", "step"]) fields.parameter[limit] = parameter[limit];
    fields.parameter.value = value ?? parameter?.start ?? 0;
  };
  const take = (key) => {
    if (!OBJECTIVES[key]) return;
    for (const part of ["prediction", "levels", "weight"]) fields[part].value = OBJECTIVES[key][part];
    showParameter();
  };
  // Which objective has these three parts: what the reader put together may be known by a name.
  const named = () => {
    const parts = ["prediction", "levels", "weight"];
    const same = ([, objective]) => parts.every((part) => objective[part] === fields[part].value);
    return Object.entries(OBJECTIVES).find(same)?.[0] ?? "";
  };

  const draw = () => {
    const { weight } = fields;
    const objective = {
      prediction: fields.prediction.value,
      levels: fields.levels.value,
      weight: weight.value,
      parameter: Number(fields.parameter.value),
    };
    const cut = Number(fields.cut.value);
    text("cut", `±${cut}`);
    text("parameter", WEIGHTS[weight.value].parameter ? number(objective.parameter) : "");
    const found = analyse(objective, fields.draw.value, cut);
    root.querySelector("svg > g").innerHTML = picture(found, cut);
    const said = sentences(found);
    root.querySelector("title").textContent = `Three curves over the log SNR, from ${-cut} to ${cut}. ${said}`;
    root.querySelector("[role=status]").textContent = said;
  };
  form.addEventListener("input", ({ target: { name, value } }) => {
    if (name === "objective") take(value);
    if (name === "weight") showParameter();
    if (["prediction", "levels", "weight"].includes(name)) fields.objective.value = named();
    draw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  const set = ({ objective, parameter, ...others }) => {
    take(objective);
    if (parameter !== undefined) showParameter(parameter);
    for (const [name, value] of Object.entries(others)) fields[name].value = value;
    fields.objective.value = named();
    draw();
  };
  for (const button of root.querySelectorAll("[data-try]")) {
    button.addEventListener("click", () => set({ ...FIRST, ...TRIES[button.dataset.try][1] }));
  }
  set(FIRST);
}

const root = document.querySelector("#weighted-elbo-play");
if (root) start(root);
