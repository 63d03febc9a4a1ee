// Keeps a page up to date. The server says when there is something new (server-sent events); the page is then asked for
// again, and its parts that differ take the place of those that are shown. Plots are drawn by plotly from figures that
// the server makes, in the colours of the style sheet.
"use strict";

(() => {
  const root = document.documentElement;
  const pulse = document.getElementById("pulse");
  const live = root.dataset.live === "yes";

  // -- plots ---------------------------------------------------------------------------------------------------------

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Put the style sheet's colours in place of their names.
  function coloured(value) {
    if (typeof value === "string") {
      return value.startsWith("var(--") ? colour(value.slice(4, -1)) : value;
    }
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
    }
    return value;
  }

  function withLooks(figure) {
    const { data, layout } = coloured(figure);
    const ink = colour("--ink");
    const dim = colour("--dim");
    const axis = (given) => ({
      gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, automargin: true,
      tickfont: { color: dim, size: 12 }, ...given,
    });
    return {
      data,
      layout: {
        ...layout,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: colour("--sans"), size: 13, color: ink },
        margin: { l: 44, r: 12, t: 30, b: 36 },
        legend: { font: { color: dim, size: 12 }, ...layout.legend },
        hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: ink } },
        xaxis: axis({ showgrid: false, ...layout.xaxis }),
        yaxis: axis(layout.yaxis),
        ...(layout.yaxis2 ? { yaxis2: axis(layout.yaxis2) } : {}),
        autosize: true, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        // A view that somebody has zoomed into stays when the figure changes.
        uirevision: "kept",
      },
    };
  }

  const shown = new WeakMap(); // of each plot, the figure that it shows

  async function draw(plot) {
    const figure = shown.get(plot);
    if (!figure) return;
    if (!figure.data.some((trace) => (trace.x || []).length)) {
      plot.replaceChildren(Object.assign(document.createElement("p"), { className: "quiet", textContent: "Nothing to draw yet." }));
      return;
    }
    if (!plot.classList.contains("js-plotly-plot")) plot.replaceChildren();
    const { data, layout } = withLooks(figure);
    await Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
    plot.dataset.drawn = String(Number(plot.dataset.drawn || 0) + 1);
    if (plot.dataset.listens) return;
    plot.dataset.listens = "yes";
    plot.on("plotly_click", (event) => {
      const url = event.points[0] && event.points[0].customdata;
      if (typeof url === "string" && url.startsWith("/runs/")) location.assign(url);
    });
  }

  async function load(plot) {
    const answer = await fetch(plot.dataset.figure);
    if (!answer.ok) return;
    const { stamp, stale, figure } = await answer.json();
    plot.dataset.stamp = stale > 0 ? "" : stamp;
    if (stale > 0) setTimeout(() => load(plot), stale * 1000 + 200);
    shown.set(plot, figure);
    await draw(plot);
  }

  const visible = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) {
        visible.delete(entry.target);
        continue;
      }
      visible.add(entry.target);
      if (entry.target.dataset.stamp !== root.dataset.stamp) load(entry.target);
    }
  }, { rootMargin: "200px" });

  function watchPlots() {
    if (typeof Plotly === "undefined") return;
    for (const plot of document.querySelectorAll(".plot:not([data-watched])")) {
      plot.dataset.watched = "yes";
      seen.observe(plot);
    }
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of document.querySelectorAll(".plot")) draw(plot);
  });

  // -- parts ---------------------------------------------------------------------------------------------------------

  const markUp = new Map(); // of each part, what the server sent
  for (const part of document.querySelectorAll("[data-part]")) markUp.set(part.id, part.innerHTML);

  const isBeingSelected = (part) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  };

  function replace(part, fresh) {
    if (markUp.get(part.id) === fresh.innerHTML) return;
    if (isBeingSelected(part)) return; // the next change will do
    markUp.set(part.id, fresh.innerHTML);
    const open = new Map();
    for (const one of part.querySelectorAll("details[data-key]")) open.set(one.dataset.key, one.open);
    const focus = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    part.replaceChildren(...document.importNode(fresh, true).childNodes);
    for (const one of part.querySelectorAll("details[data-key]")) {
      if (open.has(one.dataset.key)) one.open = open.get(one.dataset.key);
    }
    if (focus) part.querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }

  // Sections come and go: those that are new are put where they belong.
  function replaceSections(fresh) {
    const main = document.getElementById("content");
    const freshMain = fresh.getElementById("content");
    const wanted = new Set([...freshMain.children].map((child) => child.id));
    for (const child of [...main.children]) if (!wanted.has(child.id)) child.remove();
    let before = null;
    for (const child of freshMain.children) {
      let here = document.getElementById(child.id);
      if (!here) {
        here = document.importNode(child, true);
        if (before) before.after(here);
        else main.prepend(here);
        if (child.hasAttribute("data-part")) markUp.set(child.id, child.innerHTML);
      }
      here.hidden = child.hidden;
      before = here;
    }
  }

  const hasPlots = (page) => Boolean(page.querySelector('script[src^="/plotly"]'));

  let refreshing = false;
  let again = false;

  async function refresh() {
    if (refreshing) {
      again = true;
      return;
    }
    refreshing = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const page = fresh.documentElement.dataset;
      if (page.page !== root.dataset.page || hasPlots(fresh) !== hasPlots(document)) {
        location.reload();
        return;
      }
      document.title = fresh.title;
      root.dataset.stamp = page.stamp;
      replaceSections(fresh);
      for (const part of document.querySelectorAll("[data-part]")) {
        const other = fresh.getElementById(part.id);
        if (other) replace(part, other);
      }
      scrollToEnds();
      watchPlots();
      await Promise.all([...visible].filter((plot) => plot.dataset.stamp !== root.dataset.stamp).map(load));
      if (Number(page.stale) > 0) setTimeout(refresh, Number(page.stale) * 1000 + 200);
    } catch {
      setTimeout(refresh, 3000); // the server is away: the events tell when it is back, this is for good measure
    } finally {
      refreshing = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  }

  function scrollToEnds() {
    for (const log of document.querySelectorAll("pre.end")) log.scrollTop = log.scrollHeight;
  }

  // -- news ----------------------------------------------------------------------------------------------------------

  let events = null;

  function listen() {
    if (events || !live || document.hidden) return;
    events = new EventSource(`/events?run=${encodeURIComponent(root.dataset.run)}`);
    events.onopen = () => { pulse.dataset.state = "on"; };
    events.onerror = () => { pulse.dataset.state = "lost"; };
    events.onmessage = (event) => {
      if (event.data !== root.dataset.stamp) refresh();
    };
  }

  // A browser opens few connections to one host; a page that nobody sees needs none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && events) {
      events.close();
      events = null;
      pulse.dataset.state = "off";
    } else {
      listen();
    }
  });

  // What goes on gets older by the second.
  function words(seconds) {
    if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
    const two = (number) => String(number).padStart(2, "0");
    const whole = Math.round(seconds);
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
    return `${Math.floor(whole / 86400)} d ${two(Math.floor((whole % 86400) / 3600))} h`;
  }
  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-since]")) {
      time.textContent = words(Math.max(Date.now() / 1000 - Number(time.dataset.since), 0));
    }
  }, 1000);

  for (const select of document.querySelectorAll(".filter select")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
  // On a phone not all tabs fit: that of this page is to be among those that are seen.
  const tabs = document.querySelector(".tabs");
  const tab = tabs?.querySelector("[aria-current]");
  if (tab) tabs.scrollLeft = tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
  scrollToEnds();
  watchPlots();
  listen();
  // What was known already when the page was made, and was too costly to ask for then.
  if (live && Number(root.dataset.stale) > 0) setTimeout(refresh, Number(root.dataset.stale) * 1000 + 200);
})();
