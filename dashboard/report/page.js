(function () {
  "use strict";
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const charts = Array.from(document.querySelectorAll(".chart"));

  // Figures are stored in the light palette; each of its colours has one dark counterpart.
  function figure(chart) {
    const text = document.getElementById("data-" + chart.id).textContent;
    const swap = (color) => settings.dark[color.toLowerCase()] || color;
    return JSON.parse(dark.matches ? text.replace(/#[0-9a-f]{6}\b/gi, swap) : text);
  }

  function switches(chart) {
    return Array.from(document.querySelectorAll('[data-chart="' + chart.id + '"]'));
  }

  function scale(box) {
    return box.checked ? settings.log : settings.linear;
  }

  function relayout(box) {
    const changes = { [box.dataset.axis + "axis.autorange"]: true };
    for (const [name, value] of Object.entries(scale(box))) changes[box.dataset.axis + "axis." + name] = value;
    return changes;
  }

  function draw(chart) {
    const drawing = figure(chart);
    const narrow = chart.clientWidth < 560;
    if (narrow) drawing.layout.margin = Object.assign({}, drawing.layout.margin, { l: 48 });
    for (const box of switches(chart)) {
      Object.assign(drawing.layout[box.dataset.axis + "axis"], scale(box));
    }
    return Plotly.react(chart, drawing.data, drawing.layout, settings.config);
  }

  function showRow(point) {
    const row = document.getElementById("point-" + point);
    if (!row) return;
    document.querySelectorAll("tr.chosen").forEach((other) => other.classList.remove("chosen"));
    row.classList.add("chosen");
    const details = row.querySelector("details");
    if (details) details.open = true;
    row.scrollIntoView({ block: "center", behavior: "smooth" });
  }

  for (const chart of charts) {
    draw(chart).then(() => chart.classList.add("drawn"));
    chart.on("plotly_click", (event) => {
      const point = event.points[0].customdata;
      if (Number.isInteger(point)) showRow(point);
    });
    for (const box of switches(chart)) {
      box.addEventListener("change", () => Plotly.relayout(chart, relayout(box)));
    }
  }
  dark.addEventListener("change", () => charts.forEach(draw));
})();
