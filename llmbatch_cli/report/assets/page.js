"use strict";
(() => {
  const { figures, rows } = JSON.parse(document.getElementById("data").textContent);
  const byId = (name) => document.getElementById(name);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = new Intl.NumberFormat("en-US");

  // Charts

  const charts = [];

  function bars(name, labels, datasets, xTitle, yTitle) {
    const canvas = byId(name);
    if (!canvas) return;
    const axis = (text) => ({
      stacked: true,
      title: { display: true, text, color: color("--soft") },
      ticks: { color: color("--soft"), maxRotation: 0, autoSkipPadding: 16 },
      grid: { color: color("--grid") },
    });
    charts.push(new Chart(canvas, {
      type: "bar",
      data: { labels, datasets },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false,
        categoryPercentage: 1, barPercentage: 0.94,
        scales: { x: axis(xTitle), y: { ...axis(yTitle), beginAtZero: true } },
        plugins: {
          legend: { display: datasets.length > 1, labels: { color: color("--text") } },
        },
      },
    }));
  }

  function draw() {
    charts.splice(0).forEach((chart) => chart.destroy());
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    const time = figures.time;
    const perSecond = (place) => time.points.map((point) => point[place] / time.span_s);
    const sets = [{ label: "answered", data: perSecond(1), backgroundColor: color("--accent") }];
    if (figures.failed) {
      sets.push({ label: "failed", data: perSecond(2), backgroundColor: color("--bad") });
    }
    const clock = (at) => new Date(at * 1000).toLocaleTimeString();
    bars("throughput-chart", time.points.map((point) => clock(point[0])), sets,
         "time", "rows per second");
    const { edges, counts, is_open: isOpen } = figures.latency.histogram;
    const labels = counts.map((_, place) => (
      isOpen && place === counts.length - 1 ? `${edges[place]} s and more` : `${edges[place]} s`
    ));
    bars("latency-chart", labels,
         [{ label: "answers", data: counts, backgroundColor: color("--accent") }],
         "latency from", "answers");
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // The table of answers: all that a row says is set as text

  const PAGE = 50;
  const EXCERPT = 240;
  const state = { found: rows, page: 0, sort: null, down: false };
  const texts = rows.map((row) => (
    [row.id, row.model, row.text, row.error, row.prompt, row.data, row.reasoning]
      .filter(Boolean).join("\n").toLowerCase()
  ));
  rows.forEach((row, place) => { row.place = place; });

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function isolated(tag, text, kind) {
    const made = element(tag, undefined, kind);
    made.append(element("bdi", text));
    return made;
  }

  const exact = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
  const usd = (value) => (value === 0 || value >= 1 ? value.toFixed(2) : exact.format(value));
  const shown = {
    tokens: (row) => (row.tokens === null ? "" : number.format(row.tokens)),
    usd: (row) => (row.usd === null ? "" : `$${usd(row.usd)}`),
    latency: (row) => (row.latency === null ? "" : `${row.latency.toFixed(2)} s`),
  };

  function whole(row) {
    const line = element("tr", undefined, "whole");
    const cell = element("td");
    cell.colSpan = 7;
    const list = element("dl");
    const parts = [
      ["prompt", row.prompt], ["error", row.error], ["answer", row.text], ["data", row.data],
      ["reasoning", row.reasoning], ["attempts", String(row.attempts)],
    ];
    for (const [name, text] of parts) {
      if (!text) continue;
      const content = element("dd");
      content.append(element("pre", text));
      list.append(element("dt", name), content);
    }
    cell.append(list);
    line.append(cell);
    return line;
  }

  function lineOf(row) {
    const line = element("tr");
    const head = element("th");
    head.scope = "row";
    const button = element("button");
    button.type = "button";
    button.append(element("bdi", row.id || "(no id)"));
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) line.nextElementSibling.remove();
      else line.after(whole(row));
    });
    head.append(button);
    const failed = row.status === "failed";
    const said = failed ? row.error || row.text : row.text;
    const excerpt = said.length > EXCERPT ? `${said.slice(0, EXCERPT)}…` : said;
    line.append(
      head,
      isolated("td", row.model),
      isolated("td", failed ? `failed: ${row.reason}` : row.reason, failed ? "failed" : ""),
      isolated("td", excerpt, "excerpt"),
    );
    for (const name of ["tokens", "usd", "latency"]) {
      line.append(element("td", shown[name](row), "number"));
    }
    return line;
  }

  function show() {
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const begin = state.page * PAGE;
    const body = byId("rows").tBodies[0];
    body.replaceChildren(...state.found.slice(begin, begin + PAGE).map(lineOf));
    byId("found").textContent = `${number.format(state.found.length)} of these ${number.format(rows.length)} rows`;
    byId("place").textContent = `Page ${state.page + 1} of ${pages}`;
    byId("back").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
  }

  function select() {
    const wanted = byId("search").value.toLowerCase();
    const reason = byId("reason").value;
    const model = byId("model").value;
    const fits = (row) => (
      (!reason || (reason === "failed" ? row.status === "failed" : `=${row.reason}` === reason))
      && (!model || row.model === model)
      && (!wanted || texts[row.place].includes(wanted))
    );
    state.found = rows.filter(fits);
    if (state.sort) state.found.sort(byColumn);
    state.page = 0;
    show();
  }

  function byColumn(one, other) {
    const [a, b] = [one[state.sort], other[state.sort]];
    if (a === b) return one.place - other.place;
    if (a === null || b === null) return a === null ? 1 : -1;
    return (a < b ? -1 : 1) * (state.down ? -1 : 1);
  }

  function sortBy(head) {
    const name = head.dataset.sort;
    state.down = state.sort === name ? !state.down : head.className === "number";
    state.sort = name;
    for (const one of head.parentElement.cells) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    select();
  }

  function offer(list, names, prefix) {
    for (const name of [...new Set(names)].sort()) {
      const option = element("option", name);
      option.value = prefix + name;
      list.append(option);
    }
  }

  if (rows.some((row) => row.status === "failed")) {
    const failed = element("option", "failed");
    failed.value = "failed";
    byId("reason").append(failed);
  }
  offer(byId("reason"), rows.map((row) => row.reason), "=");
  offer(byId("model"), rows.map((row) => row.model), "");
  byId("search").addEventListener("input", select);
  byId("reason").addEventListener("change", select);
  byId("model").addEventListener("change", select);
  byId("back").addEventListener("click", () => { state.page -= 1; show(); });
  byId("next").addEventListener("click", () => { state.page += 1; show(); });
  for (const head of document.querySelectorAll("#rows thead th")) {
    head.firstElementChild.addEventListener("click", () => sortBy(head));
  }
  show();
})();
