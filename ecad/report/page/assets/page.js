"use strict";
// The page's own script: what is chosen, and what is shown of it. The charts are drawn by Vega-Embed.
(() => {
  const byId = (id) => document.getElementById(id);
  let data, marks, views, controls;

  // Vega would make functions of its expressions, which the page's policy forbids: `ast` has them interpreted.
  const options = {
    ast: true, renderer: "svg", actions: false, defaultStyle: false, logLevel: 1,
    tooltip: { disableDefaultStyle: true },
    config: {
      background: null, font: "system-ui, sans-serif", view: { stroke: "var(--line)" },
      axis: {
        labelColor: "var(--ink)", titleColor: "var(--ink)", domainColor: "var(--quiet)", tickColor: "var(--quiet)",
        gridColor: "var(--line)", gridOpacity: 0.6, titleFontWeight: "normal", labelFontSize: 12, titleFontSize: 13,
      },
      legend: { labelColor: "var(--ink)", titleColor: "var(--ink)", titleFontWeight: "normal", labelFontSize: 12 },
      header: { labelColor: "var(--ink)", labelFontSize: 12 },
    },
  };

  const state = () => ({
    measure: controls.measure.value,
    metric: controls.metric ? controls.metric.value : Object.keys(data.charts.front[controls.measure.value] || {})[0],
    hidden: [...controls.querySelectorAll("[name=group]")].filter((box) => !box.checked).map((box) => box.value),
    whole: controls.whole.checked,
  });

  async function draw(id, spec) {
    const place = byId(id);
    if (!place || !spec) return null;
    if (views[id]) views[id].finalize();
    const { view } = await vegaEmbed(place, spec, options);
    views[id] = view;
    return view;
  }

  // --- the front ---

  async function drawFront() {
    const { measure, metric } = state();
    const spec = (data.charts.front[measure] || {})[metric];
    const place = byId("front-chart");
    if (!spec) {
      if (views["front-chart"]) { views["front-chart"].finalize(); delete views["front-chart"]; }
      place.textContent = "No numbers for this choice.";
      return;
    }
    const values = { ...state(), selected: chosen() };
    const params = spec.params.map((param) => ({ ...param, value: values[param.name] }));
    const view = await draw("front-chart", { ...spec, params, height: place.clientWidth < 500 ? 320 : 420 });
    view.addEventListener("click", (event, item) => { if (item && item.datum && item.datum.id) choose(item.datum.id); });
    await showFront();
  }

  async function showFront() {
    const view = views["front-chart"];
    if (!view) return;
    const { hidden, whole } = state();
    await view.signal("hidden", hidden).signal("whole", whole).signal("selected", chosen()).runAsync();
    const xs = view.scale("x").domain(), ys = view.scale("y").domain();
    const outside = visible().filter((mark) => {
      const x = mark.speedups[state().measure], y = mark.qualities[state().metric];
      return x < xs[0] || x > xs[1] || y < ys[0] || y > ys[1];
    }).length;
    byId("outside").textContent = outside ? `${outside} marks lie outside: tick “whole range”.` : "";
  }

  const visible = () => {
    const { measure, metric, hidden } = state();
    return data.marks.filter((mark) => !hidden.includes(mark.group) && measure in mark.speedups && metric in mark.qualities);
  };

  // --- what is chosen ---

  const chosen = () => byId("choose").value;

  function choose(id) {
    if (!marks.has(id)) return;
    byId("choose").value = id;
    try { history.replaceState(null, "", "#" + id); } catch { /* a page without an address has no history either */ }
    show(marks.get(id));
    showFront();
  }

  function step(direction) {
    const { measure } = state();
    const order = visible().sort((one, other) => one.speedups[measure] - other.speedups[measure]);
    const place = order.findIndex((mark) => mark.id === chosen());
    const target = order[Math.min(order.length - 1, Math.max(0, place + direction))];
    if (target) choose(target.id);
  }

  function element(name, attributes = {}, ...children) {
    const made = Object.assign(document.createElement(name), attributes);
    made.append(...children);
    return made;
  }

  function show(mark) {
    byId("numbers").replaceChildren(...data.headings.map((heading, place) =>
      element("div", {}, element("dt", { textContent: heading }), element("dd", { textContent: mark.cells[place] || "–" }))));
    byId("announce").textContent = `${mark.name}, ${mark.kind}`;
    for (const row of document.querySelectorAll("tr[data-mark]")) {
      const is = row.dataset.mark === mark.id;
      row.classList.toggle("selected", is);
      row.querySelector("button").setAttribute("aria-pressed", is);
    }
    showPictures(mark);
    showSchedule(mark);
  }

  function showPictures(mark) {
    const uncached = data.marks.find((other) => other.group === "uncached");
    const numbers = Object.keys(mark.pictures).filter((number) => uncached && uncached.pictures[number]);
    byId("pictures").hidden = !numbers.length;
    byId("no-pictures").hidden = Boolean(numbers.length);
    byId("cut-name").textContent = mark.name;
    byId("gallery").replaceChildren(...numbers.map((number) => {
      const prompt = data.samples[number] || `prompt ${Number(number) + 1}`;
      const picture = (source, name, label) => {
        const image = element("img", { src: source, alt: `${label}: ${prompt}` });
        image.onload = () => image.classList.toggle("small", image.naturalWidth <= 128);
        return Object.assign(element("div", {}, image, element("span", { textContent: label })), { className: name });
      };
      return element("figure", {},
        Object.assign(element("div", {},
          picture(mark.pictures[number], "with", mark.name), picture(uncached.pictures[number], "without", "uncached")),
        { className: "pair" }),
        element("figcaption", { textContent: prompt }));
    }));
  }

  function showCut() {
    const slides = document.querySelector("[name=view]:checked").value === "slider";
    byId("gallery").classList.toggle("slider", slides);
    byId("gallery").style.setProperty("--cut", byId("cut").value + "%");
    byId("cut-label").hidden = byId("flip").hidden = !slides;
    byId("flip").setAttribute("aria-pressed", byId("cut").value === "100");
  }

  async function showSchedule(mark) {
    byId("schedule").hidden = !mark.panels;
    byId("use").hidden = !mark.use;
    byId("use-line").textContent = mark.use;
    byId("file").hidden = !mark.yaml;
    if (!mark.yaml) return;
    byId("yaml").textContent = mark.yaml;
    byId("file-name").textContent = mark.file;
    const link = byId("download");
    if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([mark.yaml], { type: "application/yaml" }));
    link.download = mark.file;
    const titles = [...new Set(mark.panels.map((record) => record.panel))];
    byId("heatmap-text").textContent = "Share that is recomputed: " + titles.join(", ").replaceAll("\n", " ");
    await draw("heatmap-chart", heatmap(mark.panels, titles));
  }

  function heatmap(panels, titles) {
    const spec = structuredClone(data.charts.heatmap);
    const blocks = Math.max(...panels.map((record) => record.bits.length));
    const steps = Math.max(...panels.map((record) => record.step)) + 1;
    const width = blocks > 40 ? 6 : blocks > 20 ? 9 : 13;
    const longest = Math.max(...titles.flatMap((title) => title.split("\n").map((line) => line.length)));
    spec.spec.width = { step: width };
    spec.spec.height = { step: steps > 30 ? 8 : 11 };
    spec.columns = columnsOf("heatmap-chart", Math.max(blocks * width, longest * 5.6));
    spec.facet.sort = titles;
    spec.data.values = panels;
    return spec;
  }

  // How many panels of this width stand side by side: the axis needs room once, and there are gaps.
  const columnsOf = (id, width) => Math.max(1, Math.floor((byId(id).clientWidth - 55) / (width + 24)));

  async function drawCalibration() {
    const spec = data.charts.calibration && structuredClone(data.charts.calibration);
    if (spec) spec.columns = columnsOf("calibration-chart", spec.spec.width);
    await draw("calibration-chart", spec);
  }

  // --- the whole ---

  async function copy(button) {
    const source = byId(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch { // no clipboard for pages of this kind: select the text, so that Ctrl-C copies it
      for (let outer = source.closest("details"); outer; outer = null) outer.open = true;
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    const text = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = text; }, 1500);
  }

  async function start() {
    data = JSON.parse(byId("data").textContent);
    marks = new Map(data.marks.map((mark) => [mark.id, mark]));
    views = {};
    controls = byId("controls");
    controls.addEventListener("change", (event) => {
      if (["measure", "metric"].includes(event.target.name)) drawFront(); else showFront();
    });
    byId("choose").addEventListener("change", () => choose(chosen()));
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    byId("front-chart").addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (direction) { event.preventDefault(); step(direction); }
    });
    for (const row of document.querySelectorAll("button.choose")) {
      row.addEventListener("click", () => {
        choose(row.dataset.mark);
        byId("chosen").scrollIntoView({ block: "start" });
      });
    }
    for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
    for (const radio of document.querySelectorAll("[name=view]")) radio.addEventListener("change", showCut);
    byId("cut").addEventListener("input", showCut);
    byId("flip").addEventListener("click", () => {
      byId("cut").value = byId("cut").value === "100" ? "0" : "100";
      showCut();
    });
    const wanted = decodeURIComponent(location.hash.slice(1));
    if (marks.has(wanted)) byId("choose").value = wanted;
    showCut();
    if (data.marks.length) {
      await drawFront();
      show(marks.get(chosen()) || data.marks[0]);
      await showFront();
    }
    await draw("volume-chart", data.charts.volume);
    await drawCalibration();
    document.documentElement.dataset.ready = "yes";
  }

  // A live page takes over the whole document when there is news, but keeps what is chosen and where one is.
  async function watch() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      try {
        const answer = await fetch("state", { cache: "no-store" });
        const now = await answer.json();
        if (now.version !== data.live) { await renew(); continue; }
        if (now.finished) return;
        byId("status").className = `status ${now.state}`;
        if (byId("status").textContent !== now.status) byId("status").textContent = now.status;
      } catch {
        byId("status").textContent = "The server of this page is gone: what is shown is what it last said.";
        return;
      }
    }
  }

  async function renew() {
    const answer = await fetch("./", { cache: "no-store" });
    if (!answer.ok) return; // a file that is just being written: the next look finds it whole
    const text = await answer.text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const focused = document.activeElement && document.activeElement.id;
    const before = controls && state();
    const selected = chosen();
    for (const view of Object.values(views)) view.finalize();
    for (const part of ["header", "main"]) document.querySelector(part).replaceWith(fresh.querySelector(part));
    byId("data").textContent = fresh.getElementById("data").textContent;
    document.title = fresh.title;
    controls = byId("controls");
    if (before) {
      for (const radio of controls.querySelectorAll("[name=measure]")) radio.checked ||= radio.value === before.measure;
      controls.whole.checked = before.whole;
      for (const box of controls.querySelectorAll("[name=group]")) box.checked = !before.hidden.includes(box.value);
    }
    if (byId("choose").querySelector(`option[value="${CSS.escape(selected)}"]`)) byId("choose").value = selected;
    await start();
    if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
  }

  start().then(() => { if (data.live !== null) watch(); });
})();
