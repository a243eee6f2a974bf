"use strict";
// What the views of all pages draw with.
const superscript = (power) => String(power).replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit] ?? "⁻");
const subscript = (rank) => String(rank).replace(/./g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
const digits = (value, count) => {
  if (!Number.isFinite(value)) return "–";
  const [digit, power] = value.toExponential(count - 1).split("e");
  return power >= -4 && power < 6 ? value.toPrecision(count) : `${digit}·10${superscript(Number(power))}`;
};

// Drawing: an element of SVG, a line's stroke, a marker about a point.
const svg = (name, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const dashes = { solid: "none", dashed: "9 6", dotted: "2 3" };
const marker = (kind, x, y, r) => ({
  disc: `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  square: `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  triangle: `M${x},${y - r}l${r},${2 * r}h${-2 * r}z`,
  cross: `M${x - r},${y - r}l${2 * r},${2 * r}m0,${-2 * r}l${-2 * r},${2 * r}`,
})[kind];
const filled = (look) => (["disc", "triangle"].includes(look.marker) ? look.colour : "none");
const markers = (look, points, r, width) => svg("path", {
  d: points.map(([x, y]) => marker(look.marker, x, y, r)).join(""),
  fill: filled(look), stroke: look.colour, "stroke-width": width,
});
const line = (look, points) => svg("path", {
  class: "line", d: points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join(""),
  fill: "none", stroke: look.colour, "stroke-dasharray": dashes[look.stroke],
});
