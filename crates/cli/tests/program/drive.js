// Opens the report's page at two widths, moves its controls, and writes down what is seen.
const page = JSON.parse(document.getElementById("page").textContent);
document.getElementById("page").remove();
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const look = async (width) => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  const loaded = new Promise((done) => frame.addEventListener("load", done));
  frame.srcdoc = page;
  document.body.append(frame);
  await loaded;
  await pause(500);
  const inside = frame.contentDocument;
  const find = (id) => inside.getElementById(id);
  const drawn = () => [...inside.querySelectorAll("#plot path.line")].map((path) => path.getAttribute("d"));
  const numbers = () => [...find("numbers").tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  const set = async (id, value) => {
    find(id).value = value;
    find(id).dispatchEvent(new Event("input"));
    await pause(300);
    return { drawn: drawn(), numbers: numbers(), epoch: find("epoch-shown").textContent };
  };
  const seen = { width, last: { drawn: drawn(), numbers: numbers() } };
  for (const details of inside.querySelectorAll("details")) details.open = true;
  seen.first = await set("epoch", "0");
  seen.seed = await set("seed", "1");
  seen.centred = await set("arm-0", "centred");
  seen.dataset = await set("arm-1", "dataset");
  await set("arm-0", "plain");
  seen.whole = await set("parameters", "0");
  seen.whole_1 = await set("epoch", "1");
  seen.whole_2 = await set("epoch", "2");
  await set("parameters", "");
  await set("epoch", find("epoch").max);
  // What sticks out: of the page, of its plot, of its figures. Wide tables scroll in their own boxes.
  const root = inside.documentElement;
  seen.pageIsWider = root.scrollWidth > root.clientWidth;
  const outside = (box, part) => part.left < box.left - 1 || part.right > box.right + 1 || part.top < box.top - 1 || part.bottom > box.bottom + 1;
  const name = (part) => `${part.tagName} ${part.className?.baseVal ?? part.className} ${part.textContent.slice(0, 40)}`;
  seen.cut = [];
  const plot = find("plot").getBoundingClientRect();
  for (const text of inside.querySelectorAll("#plot text")) {
    if (text.textContent && outside(plot, text.getBoundingClientRect())) seen.cut.push(name(text));
  }
  for (const figure of inside.querySelectorAll("figure svg")) {
    const box = figure.getBoundingClientRect();
    for (const text of figure.querySelectorAll("text")) {
      if (outside(box, text.getBoundingClientRect())) seen.cut.push(name(text));
    }
  }
  for (const part of inside.querySelectorAll("header *, main *")) {
    const box = part.getBoundingClientRect();
    if (!part.closest(".wide, svg, #plot") && box.width > 0 && (box.right > root.clientWidth + 1 || box.left < -1)) seen.cut.push(name(part));
  }
  seen.figures = inside.querySelectorAll("figure svg").length;
  seen.asked = frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name);
  seen.wrong = frame.contentWindow.wrong;
  return seen;
};
(async () => {
  const seen = [];
  for (const width of [1280, 390]) seen.push(await look(width));
  document.body.replaceChildren();
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
})();
