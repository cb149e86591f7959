// SPDX-License-Identifier: MIT
// Page of a flame graph: draws the trees of flame_tree.js with d3-flame-graph.
(() => {
  "use strict";

  const ROW = 18; // pixels
  const LEAST = 1; // pixels; narrower frames are not drawn
  const MOVED = 1500; // most frames that are animated; more would stutter

  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("data").textContent);
  const { names, looks, change, unit } = data;
  const { build, step, TOGETHER, APART } = flameTrees(data);
  const area = element("chart"), search = element("search"), select = element("group");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const view = { callers: data.callers, group: TOGETHER, before: false };
  const { number, counted, calls, percent, facts, matcher } = flameText(data, view);
  let chart, whole, root, focus, current, hits = [], next = 0;
  let shownHits = new Uint8Array(names.length);

  // ---- texts and colours of a frame

  function color(d) {
    if (d.highlight) return "var(--hit)";
    if (!change) return `var(--k${looks[d.data.n]})`;
    const many = step(d.data);
    return many < 0 ? `var(--less${-many})` : `var(--more${many})`;
  }

  function tell(d) {
    const [name, text] = [document.createElement("b"), document.createElement("span")];
    name.textContent = names[d.data.n];
    const hint = d === root ? "; click on a frame to zoom in" : "";
    text.textContent = ` \u2002${facts(d, whole)}${hint}`;
    element("details").replaceChildren(name, text);
  }

  // ---- drawing

  // Fit the height to the zoomed frame, and count the frames that are too narrow to draw.
  function fit(node, depth) {
    const least = LEAST * node.v / chart.width(), waiting = [[node, depth]];
    let deepest = depth, drawn = 0;
    while (waiting.length) {
      const [wide, at] = waiting.pop();
      drawn++;
      if (at > deepest) deepest = at;
      for (const child of wide.c || []) if (child.v > least) waiting.push([child, at + 1]);
    }
    // Never shrink, so that rows stay where the pointer is.
    const before = chart.height() || 0;
    chart.height(Math.max(before, (deepest + 1) * ROW));
    chart.transitionDuration(still.matches || drawn > MOVED ? 0 : 250);
    flame.select(area).select("svg").attr("height", chart.height());
    if (before && !view.callers) scrollBy(0, chart.height() - before);
    const left = node.size - drawn;
    const gone = change && !view.before ? "; \u201cWidths before\u201d shows those that are gone" : "";
    element("left").textContent = left ? "Frames narrower than a pixel are not drawn: "
      + `${number(left)} of ${number(node.size)}; their ${unit} are in the frames around them. `
      + `Zoom in to see them${gone}.` : "";
  }

  // Without motion the library still lets frames grow for a quarter of a second: end that.
  function settle() {
    if (chart.transitionDuration()) return;
    const drawn = flame.select(area).selectAll("g");
    drawn.select("rect").interrupt().attr("width", (d) => (d.x1 - d.x0) * chart.width());
    drawn.select("foreignObject").select("div").interrupt().text((d) => names[d.data.n]);
  }

  function mark() {
    for (const g of area.querySelectorAll("[data-current]")) g.removeAttribute("data-current");
    if (!current || document.activeElement !== area) return;
    flame.select(area).selectAll("g").filter((d) => d === current).attr("data-current", "");
    tell(current);
  }

  function zoom(d) {
    const before = focus;
    focus = current = d;
    fit(d.data, d.depth);
    if (before !== d) {
      chart.zoomTo(d);
      settle();
    }
    element("reset").disabled = d === root;
    tell(d);
    mark();
  }

  function show() {
    area.replaceChildren();
    root = focus = current = null;
    whole = build(view);
    if (!whole.v) {
      for (const id of ["left", "found", "details"]) element(id).textContent = "";
      area.append(change && (whole.after || whole.before) ? "Nothing had been called then."
        : "No stacks: nothing to draw.");
      return;
    }
    chart = flame.flamegraph()
      .width(area.clientWidth).cellHeight(ROW).minFrameSize(LEAST).inverted(view.callers)
      .getName((d) => names[(d.data || d).n]).getValue((d) => (d.data || d).v)
      .getChildren((d) => d.c).setColorMapper(color)
      .setLabelHandler((d) => `${names[d.data.n]}: ${facts(d, whole)}`)
      .onHover(tell).setDetailsHandler((text) => { if (!text && root) tell(focus); })
      .setSearchMatch((d) => shownHits[d.data.n] === 1).setSearchHandler(matched);
    fit(whole, 0);
    chart.transitionDuration(0);
    flame.select(area).datum(whole).call(chart);
    settle();
    root = focus = flame.select(area).datum();
    zoom(root);
    if (search.value) find();
  }

  // Large trees take a second: say so first.
  function showSoon() {
    area.setAttribute("aria-busy", "true");
    setTimeout(() => {
      show();
      area.removeAttribute("aria-busy");
    }, 20);
  }

  // ---- search

  function find() {
    const term = search.value.trim();
    if (!root) return;
    next = 0;
    hits = [];
    const found = term ? matcher(term) : null;
    search.setAttribute("aria-invalid", String(Boolean(term) && !found));
    shownHits = Uint8Array.from(names, (name, at) => Number(at > 0 && !!found && found.test(name)));
    if (found) {
      chart.search(term);
    } else {
      chart.clear();
      element("found").textContent = term ? "not a regular expression" : "";
    }
    mark();
  }

  function matched(results, sum) {
    hits = results.filter((d) => d.data.v).sort((one, other) => other.data.v - one.data.v);
    element("found").textContent = results.length
      ? `${counted(results.length, "frame", "frames")}, `
        + `${calls(sum)} through ${results.length > 1 ? "them" : "it"}, `
        + percent(sum, whole.v)
      : "no match";
  }

  // ---- keys and buttons

  // Return the neighbour of a frame, if it is wide enough to be drawn.
  function beside(d, by) {
    const row = d.parent ? d.parent.children : [];
    const found = row[row.indexOf(d) + by];
    return found && visible(found) ? found : null;
  }

  function visible(d) {
    return d.data.v * chart.width() > LEAST * focus.data.v;
  }

  function moved(key) {
    const inward = view.callers ? "ArrowDown" : "ArrowUp";
    const outward = view.callers ? "ArrowUp" : "ArrowDown";
    if (key === inward) return (current.children || []).find(visible);
    if (key === outward) return current.parent;
    if (current === focus || current.depth <= focus.depth) return null;
    return key === "ArrowLeft" ? beside(current, -1) : key === "ArrowRight" ? beside(current, 1)
      : null;
  }

  area.addEventListener("keydown", (event) => {
    if (!root || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter") {
      zoom(current);
    } else if (event.key.startsWith("Arrow")) {
      current = moved(event.key) || current;
      mark();
    } else {
      return;
    }
    event.preventDefault();
  });
  area.addEventListener("focus", mark);
  area.addEventListener("blur", mark);
  // Ahead of the library's own handler: the height has to be set before it draws.
  area.addEventListener("click", (event) => {
    const g = event.target.closest("g");
    if (!g || !root) return;
    event.stopPropagation();
    zoom(flame.select(g).datum());
  }, true);

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 150);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !root) return;
    clearTimeout(waiting);
    if (!hits.length) find();
    if (hits.length) zoom(hits[next++ % hits.length]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "Escape" && root) {
      if (search.value && document.activeElement === search) {
        event.preventDefault();
        search.value = "";
        find();
      } else if (focus !== root) {
        zoom(root);
      }
    }
  });
  element("reset").addEventListener("click", () => { if (root) zoom(root); });

  function toggle(id, name) {
    const button = element(id);
    button.setAttribute("aria-pressed", String(view[name]));
    button.addEventListener("click", () => {
      view[name] = !view[name];
      button.setAttribute("aria-pressed", String(view[name]));
      showSoon();
    });
  }
  toggle("callers", "callers");
  toggle("before", "before");
  element("before").hidden = !change;

  if (data.trees.length > 1 || data.trees.some((tree) => tree.group)) {
    element("groups").hidden = false;
    const rows = [[APART, "all, side by side"], [TOGETHER, "all, together"]];
    for (const [index, tree] of data.trees.entries()) {
      rows.push([String(index), tree.group ? names[tree.group] : "(no group)"]);
    }
    for (const [value, text] of rows) select.append(new Option(text, value));
    view.group = select.value = APART;
    select.addEventListener("change", () => {
      view.group = select.value;
      showSoon();
    });
  }

  let resizing;
  new ResizeObserver(() => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      if (!root || chart.width() === area.clientWidth) return;
      chart.width(area.clientWidth);
      fit(focus.data, focus.depth);
      chart.transitionDuration(0);
      chart.update();
      settle();
    }, 60);
  }).observe(area);

  show();
})();
