// The view of the spectrum: the eigenvalues above rounding of the chosen seed, epoch and variants.
(async () => {
  const element = (id) => document.getElementById(id);
  const view = JSON.parse(element("view").textContent);

  // How the spectra are packed is told in crates/report/src/spectrum.rs.
  const packed = new Blob([Uint8Array.from(atob(view.spectra), (character) => character.charCodeAt(0))]);
  const inflated = packed.stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(inflated).arrayBuffer();
  const total = view.seeds.length * view.variants.length * view.epochs.length;
  const counts = new Uint32Array(buffer, 0, total);
  const top = new Float32Array(buffer, 4 * total, 10 * total);
  const steps = new Uint8Array(buffer, 44 * total);
  const starts = [0];
  for (const count of counts) starts.push(starts.at(-1) + count);
  const spectrum = (seed, variant, epoch) => {
    const index = (seed * view.variants.length + variant) * view.epochs.length + epoch;
    let place = 0;
    return Array.from({ length: counts[index] }, (_, rank) => {
      const at = starts[index] + rank;
      place += steps[at] + 256 * steps[steps.length / 2 + at];
      return rank < 10 ? top[10 * index + rank] : top[10 * index] * 10 ** (-place / view.steps_a_decade);
    });
  };

  // One range for all epochs, so that what moves is the spectrum and not the axis.
  const ranges = new Map();
  const rangeOf = (seed, variant) => {
    const key = `${seed} ${variant}`;
    if (!ranges.has(key)) {
      const ends = view.epochs.map((_, epoch) => spectrum(seed, variant, epoch)).filter((values) => values.length);
      ranges.set(key, [Math.min(...ends.map((values) => values.at(-1))), Math.max(...ends.map((values) => values[0]))]);
    }
    return ranges.get(key);
  };

  // What is shown of an arm: all eigenvalues of the last layer, or the largest of other parameters after
  // the last epoch up to the slider's that was taken.
  const ofLastLayer = (seed, arm, name, epoch) => {
    const variant = view.variants.findIndex((variant) => variant.arm === arm && variant.name === name);
    if (variant < 0) return null;
    const { size } = view.variants[variant];
    return { values: spectrum(seed, variant, epoch), range: rangeOf(seed, variant), last: size, size, epoch: view.epochs[epoch] };
  };
  const ofParameters = (seed, arm, name, epoch, parameters) => {
    const all = view.whole.filter((one) => one.seed === seed && one.arm === arm && one.name === name && one.parameters === parameters);
    const taken = all.filter((one) => one.epoch <= view.epochs[epoch]).at(-1);
    if (!taken) return null;
    const values = all.flatMap((one) => one.values);
    return { values: taken.values, range: [Math.min(...values), Math.max(...values)], last: 10, size: taken.size, epoch: taken.epoch };
  };

  const margin = { left: 62, right: 14, top: 10, bottom: 46 };
  let hovered = () => null;
  const draw = () => {
    const epoch = Number(element("epoch").value);
    const seed = Number(element("seed").value);
    const logarithmic = element("ranks").value === "log";
    const parameters = element("parameters")?.value ?? "";
    const shown = view.arms.map((look, arm) => {
      const name = element(`arm-${arm}`).value;
      const found = parameters === "" ? ofLastLayer(seed, arm, name, epoch) : ofParameters(seed, arm, name, epoch, Number(parameters));
      return found && { look, name: `${look.name}, ${name}`, ...found };
    }).filter((one) => one);
    const told = shown[0]?.epoch ?? view.epochs[epoch];
    element("epoch-shown").textContent = told;

    // Where a rank and an eigenvalue are drawn.
    const plot = element("plot");
    const [width, height] = [plot.clientWidth, plot.clientHeight];
    const ends = shown.map(({ range }) => range);
    const low = Math.min(...ends.map((end) => end[0])), high = Math.max(...ends.map((end) => end[1]));
    const y = high > 0 && low < Infinity ? [Math.log10(low) - 0.3, Math.log10(high) + 0.5] : [-1, 1];
    const last = Math.max(2, ...shown.map((one) => one.last));
    const scaled = (rank) => (logarithmic ? Math.log10(rank) : rank);
    const room = 0.04 * (scaled(last) - scaled(1));
    const x = [scaled(1) - room, scaled(last) + room];
    const place = (rank, value) => [
      margin.left + ((scaled(rank) - x[0]) / (x[1] - x[0])) * (width - margin.left - margin.right),
      margin.top + ((y[1] - Math.log10(value)) / (y[1] - y[0])) * (height - margin.top - margin.bottom),
    ];

    // Axes.
    const picture = svg("svg", { role: "img", width, height, "aria-label":
      `Eigenvalues by rank after epoch ${told} with seed ${view.seeds[seed]}: ${shown.map((one) => one.name).join("; ")}` });
    const bottom = height - margin.bottom;
    const text = (content, at, anchor, more = {}) => svg("text", { x: at[0], y: at[1], "text-anchor": anchor, ...more }, content);
    const decades = Math.max(1, Math.ceil((y[1] - y[0]) / 8));
    for (let power = Math.ceil(y[0] / decades) * decades; power <= y[1]; power += decades) {
      const [, at] = place(1, 10 ** power);
      picture.append(svg("path", { class: "grid", d: `M${margin.left},${at}H${width - margin.right}` }),
        text(`10${superscript(power)}`, [margin.left - 6, at + 4], "end"));
    }
    const most = width < 500 ? 4 : 8;
    const step = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5].map((power) => digit * 10 ** power))
      .filter((step) => last / step <= most).reduce((a, b) => Math.min(a, b));
    const ranks = logarithmic
      ? [0, 1, 2, 3, 4, 5].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power))
      : Array.from({ length: most + 1 }, (_, index) => Math.max(1, index * step));
    for (const rank of ranks.filter((rank) => rank <= last)) {
      const [at] = place(rank, 1);
      picture.append(svg("path", { class: "grid", d: `M${at},${margin.top}V${bottom}` }), text(rank, [at, bottom + 18], "middle"));
    }
    picture.append(text("rank", [(margin.left + width) / 2, height - 6], "middle"),
      text("eigenvalue", [14, (margin.top + bottom) / 2], "middle", { transform: `rotate(-90 14 ${(margin.top + bottom) / 2})` }));

    for (const { look, values } of shown) {
      const points = values.map((value, index) => place(index + 1, value));
      picture.append(line(look, points), markers(look, points, 2, 1));
    }
    // Of several marks the largest has its name above, the smallest below, others beside.
    for (const { look, values } of shown) {
      for (const rank of [1, 10].filter((rank) => rank <= values.length)) {
        const value = values[rank - 1];
        const all = shown.map((other) => other.values[rank - 1] ?? 0);
        const [px, py] = place(rank, value);
        const [dx, dy, anchor] =
          value >= Math.max(...all) ? [8, -8, "start"] : value <= Math.min(...all) ? [-8, 18, "end"] : [12, 5, "start"];
        picture.append(markers(look, [[px, py]], 6, 2),
          text(`λ${subscript(rank)}`, [px + dx, py + dy], anchor, { class: "mark", fill: look.colour }));
      }
    }
    const tip = svg("g", { class: "tip" });
    picture.append(tip);
    plot.replaceChildren(picture);
    element("legend").replaceChildren(...shown.map(({ look, name }) => {
      const entry = document.createElement("span");
      entry.append(svg("svg", { width: 40, height: 14, "aria-hidden": true }, line(look, [[0, 7], [40, 7]]), markers(look, [[20, 7]], 4, 1.5)), ` ${name}`);
      return entry;
    }));

    // The nearest rank, and of its eigenvalues the nearest one.
    hovered = ([px, py]) => {
      tip.replaceChildren();
      const part = x[0] + ((px - margin.left) / (width - margin.left - margin.right)) * (x[1] - x[0]);
      const rank = Math.max(1, Math.round(logarithmic ? 10 ** part : part));
      const there = shown.filter(({ values }) => rank <= values.length)
        .map((one) => ({ ...one, at: place(rank, one.values[rank - 1]) }))
        .reduce((a, b) => (a && Math.abs(a.at[1] - py) <= Math.abs(b.at[1] - py) ? a : b), null);
      if (!there) return;
      const told = `${there.name}: λ${subscript(rank)} = ${digits(there.values[rank - 1], rank <= 10 ? 4 : 3)}`;
      const left = there.at[0] < width / 2;
      const label = text(told, [there.at[0] + (left ? 10 : -10), there.at[1] - 10], left ? "start" : "end");
      tip.append(markers(there.look, [there.at], 5, 2), label);
      const box = label.getBBox();
      label.before(svg("rect", { x: box.x - 4, y: box.y - 2, width: box.width + 8, height: box.height + 4, rx: 3 }));
    };

    element("numbers").tBodies[0].replaceChildren(...shown.map(({ name, values, last, size }) => {
      const row = document.createElement("tr");
      const cells = [name, digits(values[0], 4), digits(values[9], 4), digits(values[0] / values[9], 4), last === size ? `${values.length} of ${size}` : `${values.length} taken of ${size}`];
      row.append(...cells.map((cell) => Object.assign(document.createElement("td"), { textContent: cell })));
      return row;
    }));
  };

  const controls = ["epoch", "parameters", "seed", "ranks", ...view.arms.map((_, arm) => `arm-${arm}`)];
  for (const id of controls) element(id)?.addEventListener("input", draw);
  element("plot").addEventListener("pointermove", (event) => {
    const box = element("plot").getBoundingClientRect();
    hovered([event.clientX - box.left, event.clientY - box.top]);
  });
  element("plot").addEventListener("pointerleave", () => hovered([NaN, NaN]));
  new ResizeObserver(draw).observe(element("plot"));
})();
