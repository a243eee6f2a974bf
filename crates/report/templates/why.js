// Steps of each arm and seed over a measure that is chosen, both by logarithms.
(() => {
  const element = (id) => document.getElementById(id);
  const view = JSON.parse(element("view").textContent);
  const margin = { left: 70, right: 20, top: 10, bottom: 46 };
  const text = (content, x, y, anchor, more = {}) => svg("text", { x, y, "text-anchor": anchor, ...more }, content);

  const plain = (value) => String(Number(value.toPrecision(3)));

  // 1, 2 and 5 of each decade between two logarithms.
  const ticks = ([low, high]) => {
    const all = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
      for (const digit of high - low > 4 ? [1] : [1, 2, 5]) all.push(digit * 10 ** power);
    }
    return all.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
  };
  const range = (values) => {
    const logs = values.map(Math.log10);
    const [low, high] = [Math.min(...logs), Math.max(...logs)];
    const room = Math.max(0.05, 0.06 * (high - low));
    return values.length ? [low - room, high + room] : [-1, 1];
  };

  const draw = () => {
    const across = view.measures[element("measure").value], up = view.steps[element("steps").value];
    if (!across || !up) return;
    const shown = view.arms.map((look, arm) => ({
      look,
      points: across.values[arm].map((value, seed) => [value, up.values[arm][seed]])
        .filter(([x, y]) => x > 0 && y > 0),
    }));
    const points = shown.flatMap((one) => one.points);
    const x = range(points.map(([value]) => value)), y = range(points.map(([, value]) => value));
    const plot = element("plot");
    const [width, height] = [plot.clientWidth, plot.clientHeight];
    const [right, bottom] = [width - margin.right, height - margin.bottom];
    const placeX = (value) => margin.left + ((Math.log10(value) - x[0]) / (x[1] - x[0])) * (right - margin.left);
    const placeY = (value) => bottom - ((Math.log10(value) - y[0]) / (y[1] - y[0])) * (bottom - margin.top);
    const picture = svg("svg", { role: "img", width, height, "aria-label": `${up.label} by ${across.label}` });
    for (const value of ticks(x)) {
      const at = placeX(value);
      picture.append(svg("path", { class: "grid", d: `M${at},${margin.top}V${bottom}` }), text(plain(value), at, bottom + 18, "middle"));
    }
    for (const value of ticks(y)) {
      const at = placeY(value);
      picture.append(svg("path", { class: "grid", d: `M${margin.left},${at}H${right}` }), text(plain(value), margin.left - 6, at + 4, "end"));
    }
    const middle = (margin.top + bottom) / 2;
    picture.append(text(across.label, (margin.left + right) / 2, height - 6, "middle"),
      text(up.label, 14, middle, "middle", { transform: `rotate(-90 14 ${middle})` }));
    for (const { look, points } of shown) {
      picture.append(markers(look, points.map(([a, b]) => [placeX(a), placeY(b)]), 6, 2));
    }
    plot.replaceChildren(picture);
    element("legend").replaceChildren(...shown.map(({ look, points }) => {
      const entry = document.createElement("span");
      const sign = svg("svg", { width: 18, height: 14, "aria-hidden": true }, markers(look, [[9, 7]], 5, 2));
      entry.append(sign, ` ${look.name}${points.length ? "" : " (does not get there)"}`);
      return entry;
    }));
  };

  for (const id of ["measure", "steps"]) element(id).addEventListener("input", draw);
  new ResizeObserver(draw).observe(element("plot"));
})();
