"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const generations = data.generations, curve = data.curve;
  const get = (id) => document.getElementById(id);
  const cloud = get("cloud"), slider = get("slider");
  // Eleven stops of cividis, which reads the same with any colour vision.
  const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55",
    "#fee838", "#fff166"];
  const W = 640, H = 460, BOX = { left: 58, right: 12, top: 12, bottom: 44 };
  let at = generations.length - 1, chosen = null, timer = null;

  const svg = (parent, name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  };
  const finite = (values) => values.filter((value) => value !== null);
  const range = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    if (!(low <= high)) return [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.04;
    return [low - room, high + room];
  };
  const scale = (domain, from, to) => (value) => from + (value - domain[0]) / (domain[1] - domain[0]) * (to - from);
  const say = (value) => value === null ? "not finite" : Number(value.toPrecision(5)).toLocaleString("en");
  const ticks = (domain, count) => {
    const raw = (domain[1] - domain[0]) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * power).find((one) => one >= raw);
    const found = [];
    for (let k = Math.ceil(domain[0] / step); k * step <= domain[1]; k++) found.push(k * step);
    return found;
  };

  const every = (key) => finite(generations.flatMap((one) => one[key]));
  const centres = generations.map((one) => one.centre && one.centre.every((value) => value !== null) ? one.centre : null);
  const known = centres.filter(Boolean);
  const x = scale(range(every("x").concat(known.map((c) => c[0]))), BOX.left, W - BOX.right);
  const y = scale(range(every("y").concat(known.map((c) => c[1]))), H - BOX.bottom, BOX.top);
  const xs = range(every("x").concat(known.map((c) => c[0]))), ys = range(every("y").concat(known.map((c) => c[1])));
  // Colours follow the rank of a fitness among all, so that a few extremes do not take them all.
  const sorted = Float64Array.from(every("fitness")).sort();
  const share = (fitness) => {
    if (fitness === null || sorted.length < 2) return 0;
    let low = 0, high = sorted.length;
    while (low < high) { const middle = (low + high) >> 1; if (sorted[middle] < fitness) low = middle + 1; else high = middle; }
    return low / (sorted.length - 1);
  };
  const colour = (fitness) => CIVIDIS[Math.min(10, Math.floor(share(fitness) * 11))];

  const axes = (parent, box, width, height, xd, yd, xscale, yscale, names) => {
    svg(parent, "rect", { class: "frame", x: box.left, y: box.top, width: width - box.left - box.right,
      height: height - box.top - box.bottom });
    for (const value of ticks(xd, 5)) {
      svg(parent, "line", { class: "grid", x1: xscale(value), x2: xscale(value), y1: box.top, y2: height - box.bottom });
      svg(parent, "text", { x: xscale(value), y: height - box.bottom + 14, "text-anchor": "middle" }, say(value));
    }
    for (const value of ticks(yd, 5)) {
      svg(parent, "line", { class: "grid", x1: box.left, x2: width - box.right, y1: yscale(value), y2: yscale(value) });
      svg(parent, "text", { x: box.left - 5, y: yscale(value) + 4, "text-anchor": "end" }, say(value));
    }
    svg(parent, "text", { x: (box.left + width - box.right) / 2, y: height - 8, "text-anchor": "middle" }, names[0]);
    svg(parent, "text", { transform: `translate(11 ${(box.top + height - box.bottom) / 2}) rotate(-90)`,
      "text-anchor": "middle" }, names[1]);
  };
  axes(cloud, BOX, W, H, xs, ys, x, y, data.axes);
  const background = svg(cloud, "g", { class: "other", "aria-hidden": "true" });
  const paths = svg(cloud, "g", { "aria-hidden": "true" });
  const members = svg(cloud, "g", { id: "members" });
  const shape = (parent, px, py, sign, attributes) => sign > 0
    ? svg(parent, "circle", { cx: px, cy: py, r: 5, ...attributes })
    : svg(parent, "path", { d: `M${px} ${py - 6}l6 6l-6 6l-6 -6z`, ...attributes });
  const place = (one, i) => one.x[i] !== null && one.y[i] !== null;
  const stride = Math.max(1, Math.ceil(generations.reduce((sum, one) => sum + one.x.length, 0) / 4000));
  let count = 0;
  for (const one of generations) for (let i = 0; i < one.x.length; i++)
    if (place(one, i) && count++ % stride === 0)
      svg(background, "circle", { cx: x(one.x[i]), cy: y(one.y[i]), r: 2, fill: colour(one.fitness[i]) });

  const line = (points) => points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");
  const drawPaths = () => {
    paths.replaceChildren();
    const upTo = centres.slice(0, at + 1).filter(Boolean), after = centres.slice(at).filter(Boolean);
    if (after.length > 1) svg(paths, "path", { class: "path later", d: line(after) });
    if (upTo.length > 1) svg(paths, "path", { class: "path", d: line(upTo) });
    const here = upTo[upTo.length - 1];
    if (here) svg(paths, "path", { class: "here", id: "centre", d: `M${x(here[0]) - 8} ${y(here[1])}h16m-8 -8v16` });
  };
  const drawMembers = () => {
    members.replaceChildren();
    const one = generations[at];
    const order = one.fitness.map((_, i) => i).filter((i) => place(one, i))
      .sort((a, b) => (one.fitness[a] ?? -Infinity) - (one.fitness[b] ?? -Infinity));
    order.forEach((i, rank) => {
      const sign = one.sign[i] > 0 ? "+" : "−";
      const node = shape(members, x(one.x[i]), y(one.y[i]), one.sign[i], { class: "member", fill: colour(one.fitness[i]),
        tabindex: rank === order.length - 1 ? 0 : -1, role: "button", "data-pair": one.pair[i], "data-sign": one.sign[i],
        "aria-label": `pair ${one.pair[i]}, sign ${sign}, fitness ${say(one.fitness[i])}` });
      node.addEventListener("click", () => choose(i, node));
      node.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        if (event.key === "Enter" || event.key === " ") choose(i, node);
        else if (step) {
          const next = members.children[(rank + step + order.length) % order.length];
          next.focus();
          next.dispatchEvent(new MouseEvent("click"));
        } else return;
        event.preventDefault();
      });
    });
  };
  const choose = (i, node) => {
    const one = generations[at], sign = one.sign[i] > 0 ? "+" : "-";
    chosen = { generation: one.generation, pair: one.pair[i], sign: one.sign[i] };
    for (const other of members.children) { other.classList.toggle("chosen", other === node); other.tabIndex = other === node ? 0 : -1; }
    get("what").textContent = `Generation ${one.generation}, pair ${one.pair[i]}, sign ${sign}`;
    get("hint").hidden = true;
    const rank = one.fitness.filter((value) => value !== null && value > one.fitness[i]).length + 1;
    const facts = [["fitness", say(one.fitness[i])], ["rank shown", `${rank} of ${one.fitness.length}`],
      ["steps", say(one.steps[i])], [data.axes[0], say(one.x[i])], [data.axes[1], say(one.y[i])]];
    get("facts").replaceChildren(...facts.flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name; text.textContent = value;
      return [term, text];
    }));
    const file = `member-${one.generation}-${one.pair[i]}${sign === "+" ? "p" : "m"}.mp4`;
    get("text").textContent = `${data.command} --generation ${one.generation} --pair ${one.pair[i]} --sign ${sign} --record ${file}`;
    get("copied").textContent = "";
    get("command").hidden = data.command === null;  // no command can make objects of a program
  };
  get("copy").addEventListener("click", async () => {
    const text = get("text").textContent;
    let done = false;
    try { await navigator.clipboard.writeText(text); done = true; } catch {
      const selection = getSelection(), span = document.createRange();  // a page from a file may have no clipboard
      span.selectNodeContents(get("text")); selection.removeAllRanges(); selection.addRange(span);
      done = document.execCommand("copy");
    }
    get("copied").textContent = done ? "copied" : "selected: copy it with Ctrl-C";
  });

  // Fitness over generations
  const plot = get("curve"), CW = 420, CH = 240, CB = { left: 52, right: 8, top: 8, bottom: 36 };
  const all = ["min", "mean", "max", "centre"].flatMap((key) => finite(curve[key]));
  const gd = range(curve.generation.concat(generations.map((one) => one.generation))), fd = range(all);
  const cx = scale(gd, CB.left, CW - CB.right), cy = scale(fd, CH - CB.bottom, CB.top);
  axes(plot, CB, CW, CH, gd, fd, cx, cy, ["generation", "fitness"]);
  const run = (key) => curve.generation.map((g, i) => [g, curve[key][i]]).filter((p) => p[1] !== null);
  const trace = (points) => points.map((p, i) => `${i ? "L" : "M"}${cx(p[0]).toFixed(1)} ${cy(p[1]).toFixed(1)}`).join("");
  if (run("max").length) svg(plot, "path", { class: "spread", d: trace(run("max").concat(run("min").reverse())) + "Z" });
  svg(plot, "path", { class: "mean", d: trace(run("mean")) });
  svg(plot, "path", { class: "centre", d: trace(run("centre")) });
  const cursor = svg(plot, "line", { class: "cursor", id: "cursor", y1: CB.top, y2: CH - CB.bottom });
  plot.addEventListener("click", (event) => {
    const box = plot.getBoundingClientRect(), px = (event.clientX - box.left) / box.width * CW;
    const wanted = gd[0] + (px - CB.left) / (CW - CB.right - CB.left) * (gd[1] - gd[0]);
    let nearest = 0;
    generations.forEach((one, i) => {
      if (Math.abs(one.generation - wanted) < Math.abs(generations[nearest].generation - wanted)) nearest = i;
    });
    stop();
    go(nearest);
  });

  const go = (index) => {
    at = index;
    const one = generations[at];
    slider.value = String(at);
    slider.setAttribute("aria-valuetext", `generation ${one.generation}`);
    get("number").textContent = one.generation;
    cursor.setAttribute("x1", cx(one.generation)); cursor.setAttribute("x2", cx(one.generation));
    drawPaths();
    drawMembers();
    if (chosen && chosen.generation === one.generation)
      for (const node of members.children)
        if (+node.dataset.pair === chosen.pair && +node.dataset.sign === chosen.sign) node.classList.add("chosen");
  };
  const stop = () => {
    clearInterval(timer); timer = null;
    get("play").textContent = "Play"; get("play").setAttribute("aria-pressed", "false");
  };
  get("play").addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    if (at === generations.length - 1) go(0);
    get("play").textContent = "Stop"; get("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => { if (at < generations.length - 1) go(at + 1); else stop(); },
      Math.max(60, Math.min(400, 20000 / generations.length)));
  });
  slider.max = String(generations.length - 1);
  slider.addEventListener("input", () => { stop(); go(+slider.value); });
  get("others").addEventListener("change", (event) => { background.style.display = event.target.checked ? "" : "none"; });

  const plane = data.space === "behaviour" ? "behaviour of members" : "parameters of members, on the centre's path";
  get("subtitle").textContent = `${generations.length} generations; ${plane}`;
  const key = get("legend");
  key.append("● sign +   ◆ sign −   ✚ centre and its path   fitness, by rank: low ");
  for (const shade of CIVIDIS) {
    const box = document.createElement("span");
    box.style.cssText = `display:inline-block;width:1em;height:.8em;background:${shade}`;
    key.append(box);
  }
  key.append(" high");
  go(at);
})();
