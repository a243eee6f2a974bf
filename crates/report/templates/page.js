"use strict";
// The view of the spectrum: every eigenvalue of the chosen seed, epoch and variants.
(() => {
  const element = (id) => document.getElementById(id);
  const view = JSON.parse(element("view").textContent);
  const bytes = Uint8Array.from(atob(view.eigenvalues), (character) => character.charCodeAt(0));
  const eigenvalues = new Float32Array(bytes.buffer);
  const looks = {
    "FC": { colour: "#0072b2", symbol: "circle", dash: "solid" },
    "FC+BN": { colour: "#d55e00", symbol: "square-open", dash: "dash" },
  };

  // eigenvalues is [seed, variant, epoch, rank].
  const spectrum = (seed, variant, epoch) => {
    const start = ((seed * view.variants.length + variant) * view.epochs.length + epoch) * view.size;
    return eigenvalues.subarray(start, start + view.size);
  };
  const variantOf = (network, name) =>
    view.variants.findIndex((variant) => variant.network === network && variant.name === name);
  // What is zero up to rounding: size x epsilon x lambda_1, epsilon being that of f64.
  const aboveRounding = (values) => {
    const floor = values.length * Number.EPSILON * values[0];
    return Array.from(values, (value) => (value > floor ? value : null));
  };
  const short = (value) => (Number.isFinite(value) ? value.toPrecision(4) : "–");

  // One range for all epochs, so that what moves is the spectrum and not the axis.
  const rangeOf = (shown) => {
    let [low, high] = [Infinity, 0];
    for (const { seed, variant } of shown) {
      for (let epoch = 0; epoch < view.epochs.length; epoch++) {
        for (const value of aboveRounding(spectrum(seed, variant, epoch))) {
          if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
        }
      }
    }
    return high > 0 ? [Math.log10(low) - 0.3, Math.log10(high) + 0.5] : [-1, 1];
  };

  const draw = () => {
    const epoch = Number(element("epoch").value);
    const seed = Number(element("seed").value);
    element("epoch-shown").textContent = view.epochs[epoch];
    const shown = [["FC", "fc"], ["FC+BN", "bn"]]
      .map(([network, id]) => ({ network, seed, variant: variantOf(network, element(id).value) }))
      .filter(({ variant }) => variant >= 0);
    const ranks = Array.from({ length: view.size }, (_, index) => index + 1);
    const traces = [];
    const rows = [];
    const marked = [0, 9].map((rank) => shown.map(({ variant }) => spectrum(seed, variant, epoch)[rank] ?? 0));
    for (const { network, variant } of shown) {
      const look = looks[network];
      const name = `${network}, ${view.variants[variant].name}`;
      const values = aboveRounding(spectrum(seed, variant, epoch));
      traces.push({
        x: ranks, y: values, name, mode: "lines+markers", type: "scatter",
        line: { color: look.colour, dash: look.dash, width: 1 },
        marker: { color: look.colour, symbol: look.symbol, size: 4 },
        hovertemplate: `${name}<br>λ<sub>%{x}</sub> = %{y:.4g}<extra></extra>`,
      });
      traces.push({
        x: [1, 10], y: [values[0], values[9] ?? null], text: ["λ₁", "λ₁₀"], mode: "markers+text", type: "scatter",
        // The larger of two marks has its name above, the smaller below, so that neither hides the other's.
        textposition: marked.map((marks, index) =>
          [values[0], values[9]][index] >= Math.max(...marks) ? "top right" : "bottom left"),
        textfont: { color: look.colour, size: 14 }, cliponaxis: false,
        marker: { color: look.colour, symbol: look.symbol, size: 12, line: { width: 2, color: look.colour } },
        showlegend: false, hoverinfo: "skip",
      });
      const count = values.filter((value) => value !== null).length;
      rows.push([name, short(values[0]), short(values[9]), short(values[0] / values[9]), `${count} of ${view.size}`]);
    }
    Plotly.react("plot", traces, {
      margin: { l: 60, r: 10, t: 10, b: 45 },
      xaxis: { title: { text: "rank" }, type: element("ranks").value, autorange: true },
      yaxis: { title: { text: "eigenvalue" }, type: "log", range: rangeOf(shown), exponentformat: "power" },
      legend: { orientation: "h", y: 1.12 },
      font: { family: "system-ui, DejaVu Sans, sans-serif" },
    }, { responsive: true, displayModeBar: false });
    element("numbers").tBodies[0].replaceChildren(...rows.map((row) => {
      const line = document.createElement("tr");
      line.replaceChildren(...row.map((cell) => {
        const box = document.createElement("td");
        box.textContent = cell;
        return box;
      }));
      return line;
    }));
  };

  for (const id of ["epoch", "seed", "fc", "bn", "ranks"]) element(id).addEventListener("input", draw);
  draw();
})();
