/* Zooming into the charts of a detail page, by pointer, keys and buttons. Until somebody does, and without this, what the
   server drew stands. What is said of a value is read from the table beside the chart, so that it cannot differ. */
(function () {
  "use strict";
  var doc = document, live = doc.querySelector(".kck-live"), language = doc.documentElement.lang || undefined;
  var dates = language === "en" ? "en-GB" : language; // days before months, as everywhere on the pages
  var vendored = doc.currentScript.getAttribute("data-uplot"), waiting = null;
  if (!window.kckScript || !window.Intl || !window.URLSearchParams) { return; }

  /* Loaded when somebody begins to zoom. */
  function load(then) {
    if (window.uPlot) { then(); return; }
    if (waiting) { waiting.push(then); return; }
    waiting = [then];
    window.kckScript(new URL(vendored, location.href).href, function () { waiting.forEach(function (one) { one(); }); });
  }

  function token(name) { return getComputedStyle(doc.documentElement).getPropertyValue("--kck-" + name).trim(); }
  function say(text) { if (live) { live.textContent = text; } }

  function zoomable(figure) {
    var holder = figure.querySelector(".kck-points"), tools = figure.querySelector(".kck-zoom"), box = holder && holder.parentNode;
    var data = null, plot = null, host = null, tip = null, at = -1, xs = [], bars = false, view = null, link = tools && tools.querySelector("[data-zoom=show]");
    if (!box || !tools) { return; }

    function read() {
      var found = box.querySelector(".kck-points");
      try { data = JSON.parse(found.content.textContent); } catch (e) { return false; }
      bars = data.kinds.some(function (kind) { return /bar|up|down/.test(kind); });
      xs = data.at.map(function (one, i) { return bars ? (one + ends(i)) / 2 : one; });
      return xs.length > 1;
    }
    function ends(i) { return i + 1 < data.at.length ? data.at[i + 1] : data.end; }
    function first() { return data.at[0]; }
    function last() { return bars ? data.end : xs[xs.length - 1]; }

    /* -- what is said: the row of the table */
    function said(i) {
      var table = figure.querySelector("table");
      if (!table || !table.tBodies[0] || !table.tBodies[0].rows[i]) { return ""; }
      var names = table.tHead.rows[0].cells, cells = table.tBodies[0].rows[i].cells, lines = [cells[0].textContent];
      for (var n = 1; n < cells.length; n++) { lines.push((cells.length > 2 ? names[n].textContent + ": " : "") + cells[n].textContent); }
      return lines.join("\n");
    }

    /* -- what is drawn: of each series what is over, and what is in progress; of what lies on another, the sum */
    function drawn() {
      var columns = [xs], series = [{}], ink = token("ink"), muted = token("muted"), shade = token("surface");
      var colour = 0, sums = { up: xs.map(zero), down: xs.map(zero) }, behind = [], before = [];
      function zero() { return 0; }
      function add(list, values, options) { list.push([values, options]); }
      data.kinds.forEach(function (kind, n) {
        var values = data.values[n], open = data.open[n], paint = kind === "older" ? muted : kind === "net" ? ink : token("series-" + (colour % 8 + 1));
        if (kind !== "older" && kind !== "net") { colour++; }
        if (kind === "older" && bars) { return; } // an older range beside each bar would be a picture of neither
        if (kind === "line" || kind === "older" || kind === "net") {
          var width = kind === "older" ? 1.5 : 2;
          add(before, values.map(function (v, i) { return i < open ? v : null; }), { stroke: paint, width: width, points: { size: 5, stroke: paint, fill: paint } });
          if (open < values.length) {
            add(before, values.map(function (v, i) { return i >= open - 1 ? v : null; }), {
              stroke: paint, width: width, dash: [2, 4],
              points: { show: true, size: 7, stroke: paint, fill: shade, filter: function () { return range(open, values.length); } }
            });
          }
          return;
        }
        var sign = kind === "down" ? -1 : 1, total = values;
        if (kind !== "bar") {
          var sum = sums[kind];
          total = values.map(function (v, i) { sum[i] += v || 0; return v == null ? null : sign * sum[i]; });
        }
        var paths = window.uPlot.paths.bars({ size: [0.72, 64] });
        add(behind, total.map(function (v, i) { return i < open ? v : null; }), { fill: paint, stroke: shade, width: 1, paths: paths, points: { show: false } });
        if (open < values.length) {
          add(behind, total.map(function (v, i) { return i >= open ? v : null; }), { fill: shade, stroke: paint, width: 1.5, dash: [3, 3], paths: paths, points: { show: false } });
        }
      });
      behind.reverse().concat(before).forEach(function (one) { columns.push(one[0]); series.push(one[1]); });
      return { columns: columns, series: series };
    }
    function range(from, to) { var found = []; for (var i = from; i < to; i++) { found.push(i); } return found; }

    /* -- axes: days of the range's zone, numbers of the language */
    function when(seconds, options) {
      options.timeZone = data.zone;
      return new Intl.DateTimeFormat(dates, options).format(new Date(seconds * 1000));
    }
    function ticks(u, splits, axis, space, step) {
      return splits.map(function (one) {
        if (step >= 31536e3) { return when(one, { year: "numeric" }); }
        if (step >= 2419200) { return when(one, when(one, { month: "numeric" }) === "1" ? { year: "numeric" } : { month: "short" }); }
        if (step >= 86400 || when(one, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }) === "00:00") { return when(one, { day: "numeric", month: "short" }); }
        return when(one, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      });
    }
    function numbers(u, splits) {
      return splits.map(function (one) {
        var format = function (value, most) { return new Intl.NumberFormat(language, { maximumFractionDigits: most }).format(value).replace("-", "\u2212"); };
        if (data.form === "percent") { return format(one * 100, 2) + "\u00a0%"; }
        if (data.form === "duration") {
          var unit = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].filter(function (each) { return Math.abs(one) >= each[0]; })[0] || [1, "s"];
          return format(one / unit[0], 1) + "\u00a0" + unit[1];
        }
        return format(one, 6);
      });
    }
    function heights(u, low, high) {
      if (low == null) { return [0, 1]; }
      if (data.goal) { low = Math.min(low, data.goal[0]); high = Math.max(high, data.goal[0]); }
      if (bars) { low = Math.min(low, 0); high = Math.max(high, 0); }
      var room = (high - low || Math.abs(high) || 1) * 0.06;
      return [low === 0 ? 0 : low - room, high === 0 ? 0 : high + room];
    }

    function marks(u) {
      var c = u.ctx, ratio = window.devicePixelRatio || 1, top = u.bbox.top, bottom = top + u.bbox.height, right = u.bbox.left + u.bbox.width;
      c.save();
      c.font = 12 * ratio + "px system-ui, sans-serif";
      c.lineWidth = ratio;
      function seen(x) { return x >= u.bbox.left && x <= right; }
      data.notes.forEach(function (one) {
        var x = Math.round(u.valToPos(one[0], "x", true)) + 0.5;
        if (!seen(x)) { return; }
        c.strokeStyle = c.fillStyle = token("muted");
        c.setLineDash([2 * ratio, 3 * ratio]);
        c.beginPath(); c.moveTo(x, top); c.lineTo(x, bottom); c.stroke();
        var width = c.measureText(one[2]).width;
        c.fillText(one[2], x + width + 8 * ratio > right ? x - width - 5 * ratio : x + 5 * ratio, top + 12 * ratio);
      });
      if (data.goal) {
        var y = Math.round(u.valToPos(data.goal[0], "y", true)) + 0.5;
        c.strokeStyle = c.fillStyle = token("goal");
        c.textAlign = "right";
        c.fillText(data.goal[1], right - 4 * ratio, y + 14 * ratio);
        c.setLineDash([7 * ratio, 5 * ratio]);
        c.beginPath(); c.moveTo(u.bbox.left, y); c.lineTo(right, y); c.stroke();
      }
      c.restore();
    }

    /* -- the cursor, and what is seen */
    function point(u) {
      var i = u.cursor.idx;
      if (i == null || u.cursor.left < 0) { tip.hidden = true; at = -1; return; }
      at = i;
      tip.textContent = said(i);
      tip.hidden = false;
      var left = u.valToPos(xs[i], "x") + u.over.offsetLeft, wide = tip.offsetWidth, all = host.clientWidth;
      tip.style.left = Math.max(0, Math.min(all - wide, left > all / 2 ? left - wide - 8 : left + 8)) + "px";
      tip.style.top = "0px";
    }
    function seen() {
      var from = 0, to = xs.length - 1;
      while (from < to && xs[from] < view[0] - 1) { from++; }
      while (to > from && xs[to] > view[1] + 1) { to--; }
      return [from, to];
    }
    function day(seconds) {
      return new Intl.DateTimeFormat("en-CA", { timeZone: data.zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date(seconds * 1000));
    }
    function told() {
      var range = seen(), asked = new URLSearchParams(location.search), hours = data.by === "hour";
      asked.delete("range");
      asked.set("from", hours ? new Date(data.at[range[0]] * 1000).toISOString() : day(data.at[range[0]]));
      asked.set("to", hours ? new Date(ends(range[1]) * 1000).toISOString() : day(ends(range[1]) - 1));
      asked.set("by", data.by);
      link.href = "?" + asked;
      link.hidden = range[0] === 0 && range[1] === xs.length - 1;
    }

    function build(min, max) {
      var made = drawn(), grid = token("grid"), muted = token("muted"), font = "12px system-ui, sans-serif";
      if (plot) { plot.destroy(); }
      plot = new window.uPlot({
        width: host.clientWidth, height: host.clientWidth < 480 ? 240 : 320, series: made.series, legend: { show: false },
        tzDate: function (seconds) { return window.uPlot.tzDate(new Date(seconds * 1000), data.zone); },
        cursor: { y: false, drag: { x: true, y: false, dist: 6 }, points: { show: false }, bind: { dblclick: function () { return function () { reset(); return null; }; } } },
        scales: { x: { time: true, range: function (u, min, max) { return whole(min, max); } }, y: { range: heights } },
        axes: [
          { stroke: muted, font: font, grid: { show: false }, ticks: { stroke: grid, width: 1, size: 4 }, values: ticks, space: 70, size: 30 },
          { stroke: muted, font: font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, values: numbers, size: function (u, values) { return 16 + Math.max.apply(null, (values || [""]).map(function (one) { return one.length; })) * 7.2; } }
        ],
        hooks: { setCursor: [point], draw: [marks], setScale: [function (u, key) { if (key === "x" && plot) { view = [u.scales.x.min, u.scales.x.max]; told(); } }] }
      }, made.columns, host);
      scale(min, max);
      told();
    }
    // Bars are seen whole.
    function whole(min, max) {
      if (!bars || min == null) { return [min, max]; }
      var i = 0, j = data.at.length - 1;
      while (i < j && ends(i) <= min + 1) { i++; }
      while (j > i && data.at[j] >= max - 1) { j--; }
      return [data.at[i], ends(j)];
    }
    // Taken over with the next turn of the page's loop; what is seen is known at once.
    function scale(min, max) { view = whole(min, max); plot.setScale("x", { min: min, max: max }); }

    function open(min, max) {
      if (plot) { scale(min, max); return; }
      if (!window.uPlot) { load(function () { open(min, max); }); return; }
      if (!read()) { return; }
      host = host || figure.insertBefore(doc.createElement("div"), tools);
      host.className = "kck-zoomed";
      host.tabIndex = 0;
      host.setAttribute("role", "img");
      host.setAttribute("aria-label", figure.querySelector("figcaption").textContent);
      host.addEventListener("keydown", key);
      tip = host.appendChild(doc.createElement("div"));
      tip.className = "kck-tip";
      tip.hidden = true;
      tip.setAttribute("aria-hidden", "true");
      var focused = box.contains(doc.activeElement);
      figure.classList.add("kck-is-zoomed");
      build(min, max);
      if (focused) { host.focus(); }
    }
    function reset() {
      if (!plot) { return; }
      var focused = host.contains(doc.activeElement);
      plot.destroy();
      host.remove();
      plot = host = null;
      link.hidden = true;
      figure.classList.remove("kck-is-zoomed");
      if (focused) { var svg = shown(); if (svg) { svg.focus(); } }
    }
    function shown() {
      return Array.prototype.filter.call(figure.querySelectorAll(".kck-chart svg"), function (one) { return one.getClientRects().length; })[0];
    }

    /* -- in and out, to and fro */
    function zoom(times) {
      if (!plot) {
        if (times > 1 || !read()) { return; }
        if (!window.uPlot) { load(function () { zoom(times); }); return; }
        open(first(), last());
      }
      var span = (view[1] - view[0]) * times, least = (data.end - data.at[0]) / data.at.length * 2;
      var middle = at >= 0 && xs[at] >= view[0] && xs[at] <= view[1] ? xs[at] : (view[0] + view[1]) / 2;
      if (span >= last() - first()) { reset(); return; }
      span = Math.max(span, Math.min(least, last() - first()));
      var from = Math.max(first(), Math.min(last() - span, middle - span / 2));
      scale(from, from + span);
    }
    function pan(share) {
      if (!plot) { return; }
      var span = view[1] - view[0], from = Math.max(first(), Math.min(last() - span, view[0] + span * share));
      scale(from, from + span);
    }
    function move(to) {
      var range = seen();
      to = Math.max(0, Math.min(xs.length - 1, to));
      if (to < range[0] || to > range[1]) {
        var span = view[1] - view[0], from = Math.max(first(), Math.min(last() - span, xs[to] - span / 2));
        scale(from, from + span);
      }
      Promise.resolve().then(function () {
        if (!plot) { return; }
        plot.setCursor({ left: plot.valToPos(xs[to], "x"), top: 0 });
        say(said(to).replace(/\n/g, ", "));
      });
    }
    function key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) { return; }
      var range = seen(), done = true;
      switch (event.key) {
        case "ArrowLeft": move(at < 0 ? range[1] : at - 1); break;
        case "ArrowRight": move(at < 0 ? range[0] : at + 1); break;
        case "Home": move(0); break;
        case "End": move(xs.length - 1); break;
        case "+": case "=": zoom(0.5); break;
        case "-": zoom(2); break;
        case "Escape": reset(); break;
        default: done = false;
      }
      if (done) { event.preventDefault(); event.stopPropagation(); }
    }

    tools.hidden = false;
    tools.addEventListener("click", function (event) {
      var button = event.target.closest("button");
      if (!button) { return; }
      ({ in: function () { zoom(0.5); }, out: function () { zoom(2); }, left: function () { pan(-0.5); }, right: function () { pan(0.5); }, reset: reset })[button.dataset.zoom]();
    });
    figure.addEventListener("keydown", function (event) {
      if (!plot && box.parentNode.contains(event.target) && event.target.tagName === "svg" && (event.key === "+" || event.key === "=")) { event.preventDefault(); zoom(0.5); }
    });

    /* -- a drag across what the server drew; a finger scrolls the page instead, and has the buttons */
    var from = null, veil = null;
    figure.addEventListener("pointerdown", function (event) {
      var svg = event.target.closest && event.target.closest(".kck-chart svg");
      if (!svg || event.button || event.pointerType === "touch" || !read()) { return; }
      from = { x: event.clientX, svg: svg };
      load(function () {});
    });
    doc.addEventListener("pointermove", function (event) {
      if (!from || (!veil && Math.abs(event.clientX - from.x) < 6)) { return; }
      if (!veil) { veil = figure.appendChild(doc.createElement("div")); veil.className = "kck-veil"; }
      var own = figure.getBoundingClientRect(), rect = from.svg.getBoundingClientRect();
      var x = Math.max(rect.left, Math.min(rect.right, event.clientX));
      veil.style.left = Math.min(from.x, x) - own.left + "px";
      veil.style.width = Math.abs(x - from.x) + "px";
      veil.style.top = rect.top - own.top + "px";
      veil.style.height = rect.height + "px";
    });
    doc.addEventListener("pointerup", function (event) {
      var began = from;
      from = null;
      if (!veil) { return; }
      veil.remove();
      veil = null;
      var ends_ = [began.x, event.clientX].sort(function (a, b) { return a - b; }).map(function (x) { return instant(began.svg, x); });
      if (ends_[1] > ends_[0]) { open(ends_[0], ends_[1]); }
    });
    doc.addEventListener("pointercancel", function () { from = null; if (veil) { veil.remove(); veil = null; } });
    function instant(svg, x) {
      var rect = svg.getBoundingClientRect(), meta = {}, places;
      try { meta = JSON.parse(svg.querySelector("metadata").textContent); } catch (e) { /* the whole width, then */ }
      places = meta.x && meta.x.length > 1 ? [meta.x[0], meta.x[meta.x.length - 1]] : [0, svg.viewBox.baseVal.width];
      var place = (x - rect.left) * svg.viewBox.baseVal.width / rect.width, share = (place - places[0]) / (places[1] - places[0]);
      return Math.max(first(), Math.min(last(), xs[0] + share * (xs[xs.length - 1] - xs[0])));
    }

    /* -- what changes while it is looked at: the numbers, the room, the colours */
    function again() {
      if (!plot || !box.querySelector(".kck-points")) { return; }
      var min = view[0], max = view[1], all = min <= first() && max >= last();
      if (read()) { build(all ? first() : Math.max(min, first()), all ? last() : Math.min(max, last())); }
    }
    new MutationObserver(again).observe(box, { childList: true });
    if (window.ResizeObserver) {
      new ResizeObserver(function () { if (plot && Math.abs(plot.width - host.clientWidth) > 1) { plot.setSize({ width: host.clientWidth, height: plot.height }); } }).observe(figure);
    }
    if (window.matchMedia) { matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again); }
  }

  Array.prototype.forEach.call(doc.querySelectorAll(".kck-figure"), zoomable);
})();
