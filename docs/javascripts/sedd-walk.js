// A sentence that the reader steps into noise and back, with the exact score of a small source: the page of week 9.

const CHOSEN = "outline: 2px solid var(--md-accent-fg-color); outline-offset: 1px";

const CONTROLS = `
  <form class="controls" aria-label="Settings of the walk">
    <div class="wide"><label for="w-text">Sentence, letters and spaces</label>
      <input id="w-text" name="text" type="text" minlength="2" maxlength="60" autocomplete="off" spellcheck="false"
        value="but soft what light through yonder window breaks"></div>
    <div><label for="w-graph">Graph</label>
      <select id="w-graph" name="graph"><option value="absorbing">absorbing</option><option value="uniform">uniform</option></select></div>
    <div><label for="w-sampler">Step back by</label>
      <select id="w-sampler" name="sampler"><option value="tweedie">Tweedie</option><option value="euler">Euler</option></select></div>
    <div><label for="w-noise">Noise</label>
      <select id="w-noise" name="noise"><option value="loglinear">log-linear</option><option value="geometric">geometric</option></select></div>
    <div><label for="w-steps">Steps</label>
      <select id="w-steps" name="steps">${[1, 2, 4, 8, 16, 32, 64].map((n) => `<option${n === 16 ? " selected" : ""}>${n}</option>`).join("")}</select></div>
    <div><label for="w-memory">The source knows</label>
      <select id="w-memory" name="memory"><option value="2">triples of letters</option><option value="1">pairs of letters</option></select></div>
  </form>
  <div class="tokens" role="toolbar" aria-label="The sentence. Arrow keys or a tap choose a letter; what is said of it stands below"></div>
  <p class="legend" aria-hidden="true"><span class="token masked">?</span> masked <span class="token changed">a</span> not the sentence's
    <span class="token moved">a</span> moved in this step <span class="token given">a</span> given <span class="token" style="${CHOSEN}">a</span> chosen</p>
  <form class="controls" aria-label="Steps of the walk">
    <div><button type="button" name="give"></button></div>
    <div><button type="button" name="back">One step back</button></div>
    <div><button type="button" name="on">One step of noise</button></div>
    <div><button type="button" name="text">Back to text</button></div>
    <div><button type="button" name="noise">All the noise</button></div>
    <div><button type="button" name="again">Start over</button></div>
    <div><button type="button" name="chance">Other chance</button></div>
    <div class="wide"><label for="w-time">Time, from text to noise <span class="value"></span></label>
      <input id="w-time" name="time" type="range" min="0" step="1" value="0"></div>
  </form>
  <p role="status"></p>
  <div class="ratios"></div>`;

const shown = (letter) => (letter === " " ? "\u00a0" : letter);
const spoken = (letter) => (letter === " " ? "space" : letter === "?" ? "mask" : letter);

async function start(root) {
  const [chain, { SCENE }] = await Promise.all([import("./sedd-chain.js"), import("./sedd-scene.js")]);
  root.innerHTML = CONTROLS;
  const [settings, walk] = root.querySelectorAll("form");
  const row = root.querySelector(".tokens");
  const sources = { 1: chain.sourceOf(SCENE, 1), 2: chain.sourceOf(SCENE, 2) };
  const letter = (token) => chain.LETTERS[token] ?? "?";
  let seed = 1;
  let uniform;
  let graph;
  let sentence;
  let x;
  let given = [];
  let moved = [];
  let chosen = 0;
  let stop = 0;

  const value = (name) => settings.elements[name].value;
  const source = () => sources[value("memory")];
  const steps = () => Number(value("steps"));
  // Time k / steps; at 0 the letters are clean whatever the schedule says.
  const noise = (k) => (k === 0 ? { sigma: 0, rate: 0 } : chain.NOISE[value("noise")](k / steps()));

  function begin() {
    const letters = value("text").toLowerCase().replace(/[^a-z]+/g, " ").trim();
    sentence = [...(letters.length > 1 ? letters : "to be")].map((one) => chain.LETTERS.indexOf(one));
    if (given.length !== sentence.length) given = sentence.map(() => false);
    graph = chain.graphOf(value("graph"), chain.LETTERS.length);
    uniform = chain.uniforms(seed);
    x = sentence;
    moved = [];
    chosen = Math.min(chosen, x.length - 1);
    stop = 0;
    walk.elements.time.max = steps();
    row.innerHTML = sentence.map((_, i) => `<button type="button" data-i="${i}"></button>`).join("");
    draw();
  }

  function step(direction) {
    const before = x;
    const [here, there] = [noise(stop), noise(stop + direction)];
    const dsigma = Math.abs(here.sigma - there.sigma);
    if (direction > 0) x = chain.noiseStep(graph, x, given, dsigma, uniform);
    else {
      const last = stop === 1;
      const leap = (score, token) =>
        value("sampler") === "tweedie" || last
          ? chain.tweedie(graph, score, token, dsigma)
          : chain.euler(graph, score, token, here.rate / steps());
      x = chain.denoiseStep(source(), graph, x, given, here.sigma, leap, last, uniform);
    }
    stop += direction;
    moved = x.map((token, i) => token !== before[i]);
  }

  function goTo(target) {
    const within = Math.min(Math.max(target, 0), steps());
    while (stop !== within) step(Math.sign(within - stop));
    draw();
  }

  function ratios() {
    const { sigma, rate } = noise(stop);
    const title = `Letter ${chosen + 1} is ${x[chosen] === graph.mask ? "masked" : spoken(letter(x[chosen]))}`;
    if (given[chosen]) return `<p>${title}, and given: it stays.</p>`;
    if (stop === 0) return `<p>${title}. Without noise there are no ratios; take a step of noise.</p>`;
    if (graph.mask >= 0 && x[chosen] !== graph.mask) return `<p>${title}. Only masks were ever put in, so its rates back are 0.</p>`;
    const score = chain.concreteScore(source(), graph, x, sigma, given)[chosen];
    const order = [...score.keys()].filter((y) => y !== x[chosen] && y !== graph.mask).sort((a, b) => score[b] - score[a]);
    const leaving = rate * graph.base[x[chosen]] * order.reduce((sum, y) => sum + score[y], 0);
    const bars = order.slice(0, 6).map((y) => {
      const width = (100 * score[y]) / score[order[0]];
      return `<li><b>${spoken(letter(y))}</b><span>${score[y].toPrecision(3)}</span><i style="width:${width.toFixed(1)}%"></i></li>`;
    });
    return `<p>${title}. It leaves at rate ${leaving.toPrecision(3)} per unit of time. The largest of its ratios p(y)/p(x):</p><ol>${bars.join("")}</ol>`;
  }

  function draw() {
    [...row.children].forEach((button, i) => {
      const name = letter(x[i]);
      const notes = [x[i] === graph.mask ? "masked" : x[i] !== sentence[i] && "changed", moved[i] && "moved", given[i] && "given"];
      const states = notes.filter(Boolean);
      button.className = ["token", ...states].join(" ");
      button.textContent = shown(name);
      button.tabIndex = i === chosen ? 0 : -1;
      button.setAttribute("aria-current", String(i === chosen));
      button.style.cssText = i === chosen ? CHOSEN : "";
      button.setAttribute("aria-label", [`${i + 1}: ${spoken(name)}`, ...states.filter((state) => state !== "masked")].join(", "));
    });
    const { sigma } = noise(stop);
    const masked = x.filter((token) => token === graph.mask).length;
    const changed = x.filter((token, i) => token !== graph.mask && token !== sentence[i]).length;
    const words = [
      `Step ${stop} of ${steps()}: t = ${(stop / steps()).toFixed(2)}, total noise ${sigma.toFixed(2)}`,
      graph.mask >= 0 ? `${masked} of ${x.length} masked` : "",
      `${changed} not as in the sentence`,
      masked ? "" : `${(-chain.logProb(source(), x) / Math.LN2 / x.length).toFixed(2)} bits per letter under the source`,
    ];
    root.querySelector("[role=status]").textContent = `${words.filter(Boolean).join("; ")}.`;
    root.querySelector(".ratios").innerHTML = ratios();
    walk.elements.give.textContent = given[chosen] ? `Take letter ${chosen + 1} back` : `Give letter ${chosen + 1}`;
    walk.elements.time.value = stop;
    walk.querySelector(".value").textContent = (stop / steps()).toFixed(2);
  }

  function choose(i) {
    chosen = (i + x.length) % x.length;
    draw();
    row.children[chosen].focus();
  }

  // What is given is the sentence's letter, wherever the walk is. Taken back, it stays until the walk moves it.
  function give() {
    given[chosen] = !given[chosen];
    if (given[chosen]) x = x.map((token, i) => (i === chosen ? sentence[i] : token));
    moved = [];
    draw();
  }

  const actions = {
    give,
    back: () => goTo(stop - 1),
    on: () => goTo(stop + 1),
    text: () => goTo(0),
    noise: () => goTo(steps()),
    again: begin,
    chance: () => {
      seed += 1;
      begin();
    },
  };
  walk.addEventListener("click", (event) => actions[event.target.name]?.());
  walk.elements.time.addEventListener("input", (event) => goTo(Number(event.target.value)));
  settings.addEventListener("input", (event) => (["sampler", "memory"].includes(event.target.name) ? draw() : begin()));
  for (const form of [settings, walk]) form.addEventListener("submit", (event) => event.preventDefault());
  row.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(Number(button.dataset.i));
  });
  row.addEventListener("keydown", (event) => {
    const to = { ArrowRight: chosen + 1, ArrowLeft: chosen - 1, Home: 0, End: x.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });
  begin();
  goTo(steps() / 2);
  chosen = x.indexOf(graph.mask);
  draw();
}

const root = document.querySelector("#sedd-walk");
if (root) start(root);
