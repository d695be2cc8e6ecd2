/* The pages work without it. With it: charts answer to pointer and arrow keys, numbers are kept current, texts are copied. */
(function () {
  "use strict";
  var doc = document, $ = function (q, root) { return Array.prototype.slice.call((root || doc).querySelectorAll(q)); };

  /* -- what comes from this site: its pages again, its own scripts */
  var own = doc.currentScript.src.replace(/[^/]*$/, "");
  var policy = window.trustedTypes && window.trustedTypes.createPolicy ? window.trustedTypes.createPolicy("kck", {
    createHTML: function (text) { return text; },
    createScriptURL: function (url) { if (url.indexOf(own) !== 0) { throw new TypeError(url); } return url; }
  }) : null;
  window.kckScript = function (url, then) {
    var script = doc.createElement("script");
    script.src = policy ? policy.createScriptURL(url) : url;
    script.onload = then;
    doc.head.appendChild(script);
  };

  /* -- charts: a cursor for pointer and arrow keys, read out politely */
  function cursor(svg) {
    var meta = svg.querySelector("metadata"), data;
    if (!meta || svg.kck) { return; }
    try { data = JSON.parse(meta.textContent); } catch (e) { return; }
    svg.kck = true;
    var xs = data.x || [], series = data.s || [], plot = data.box || [0, 0, 0, 0];
    if (!xs.length) { return; }
    var box = svg.viewBox.baseVal, at = -1, tip = null, line = null;
    var ns = "http://www.w3.org/2000/svg";
    function text(i) {
      return data.t[i] + "\n" + series.map(function (one) { return (series.length > 1 ? one.n + ": " : "") + (one.v[i] == null ? "–" : one.v[i]); }).join("\n");
    }
    function show(i) {
      if (i < 0 || i >= xs.length) { return; }
      at = i;
      var host = svg.parentNode;
      if (!tip) {
        tip = doc.createElement("div"); tip.className = "kck-tip"; tip.setAttribute("aria-hidden", "true"); host.appendChild(tip);
        line = doc.createElementNS(ns, "path"); line.setAttribute("class", "kck-cursor"); line.setAttribute("stroke", "var(--kck-muted)"); line.setAttribute("stroke-dasharray", "2 2"); svg.appendChild(line);
      }
      line.setAttribute("d", "M" + xs[i] + " " + plot[1] + "V" + plot[3]);
      tip.textContent = text(i);
      var rect = svg.getBoundingClientRect(), scale = rect.width / box.width, left = xs[i] * scale;
      tip.hidden = false;
      var width = tip.offsetWidth;
      tip.style.left = Math.max(0, Math.min(rect.width - width, left + (left > rect.width / 2 ? -width - 8 : 8))) + "px";
      tip.style.top = "0px";
    }
    function hide() { if (tip) { tip.hidden = true; line.setAttribute("d", ""); } at = -1; }
    function nearest(event) {
      var rect = svg.getBoundingClientRect(), x = (event.clientX - rect.left) * box.width / rect.width, best = 0;
      for (var i = 1; i < xs.length; i++) { if (Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) { best = i; } }
      return best;
    }
    svg.addEventListener("pointermove", function (event) { show(nearest(event)); });
    svg.addEventListener("pointerleave", function () { if (doc.activeElement !== svg) { hide(); } });
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", function (event) {
      var last = xs.length - 1, to = { ArrowLeft: at < 0 ? last : Math.max(at - 1, 0), ArrowRight: at < 0 ? 0 : Math.min(at + 1, last), Home: 0, End: last }[event.key];
      if (event.key === "Escape") { hide(); return; }
      if (to === undefined) { return; }
      event.preventDefault();
      show(to);
      say(text(to).replace(/\n/g, ", "));
    });
  }

  var live = doc.querySelector(".kck-live");
  function say(text) { if (live) { live.textContent = text; } }

  /* -- the keyboard: / to the search, ? for help */
  var keys = doc.querySelector(".kck-keys"), open = doc.querySelector(".kck-keys-open"), search = doc.getElementById("kck-q");
  if (keys && keys.showModal && open) { open.hidden = false; open.addEventListener("click", function () { keys.showModal(); }); }
  doc.addEventListener("keydown", function (event) {
    var field = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (field || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
    if (event.key === "?" && keys && keys.showModal && !keys.open) { keys.showModal(); }
  });

  /* -- copying */
  $(".kck-copy").forEach(function (button) {
    if (!navigator.clipboard) { return; }
    button.hidden = false;
    button.addEventListener("click", function () {
      navigator.clipboard.writeText(button.getAttribute("data-copy")).then(function () { say(button.textContent + " ✓"); });
    });
  });

  /* -- kept current: the same address again, and nothing where nothing has changed; told when to, where there is a stream */
  var body = doc.body.dataset, pulse = doc.querySelector(".kck-pulse"), LONGEST = 600000, MISSING = 10000, AGAIN = 300000;
  var every = +body.every || 0, etag = body.etag || null, failures = 0, timer = null, due = 0, asking = false, again = false, paused = false, ended = false, stream = null, told = false, timeout = null;

  /* ages stay true without a question: by the server's clock, as last told */
  var serverAt = +body.now * 1000, toldAt = performance.now(), words = pulse ? JSON.parse(pulse.dataset.ages) : null;
  function seconds(at) { return (serverAt + performance.now() - toldAt) / 1000 - at; }
  function span(size) {
    var of = size < 59.5 ? [1, "s"] : size < 3570 ? [60, "min"] : size < 127800 ? [3600, "h"] : [86400, "d"], found = size / of[0];
    var digits = of[1] === "h" && found < 9.95 && Math.abs(found - Math.round(found)) >= 0.05 ? 1 : 0;
    return new Intl.NumberFormat(doc.documentElement.lang || "en", { maximumFractionDigits: digits }).format(found) + "\u00a0" + words[of[1]];
  }
  function age(node) {
    var size = seconds(+node.dataset.at), form = node.dataset.form, text = span(Math.max(0, form === "ahead" ? -size : size));
    if (form === "ago") { text = size < 5 ? words.recent : words.ago.replace("%s", text); }
    if (form === "ahead") { text = size >= 0 ? words.now : words.ahead.replace("%s", text); }
    if (node.textContent !== text) { node.textContent = text; }
  }
  function ages() { $(".kck-age").forEach(age); }

  /* one part of the page becomes another; whoever stands in it stays there */
  var STOPS = "a[href],button,summary,svg[tabindex],[tabindex='0']";
  function plain(html) { return html.replace(/(<span class="kck-age"[^>]*?)(?: data-at="[^"]*")?([^>]*>)[^<]*/g, "$1$2"); }
  function take(text) {
    var fresh = new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html"), changed = 0;
    $("[data-live]", fresh).forEach(function (now) {
      var was = doc.querySelector('[data-live="' + now.getAttribute("data-live") + '"]');
      if (!was || was.closest("[data-busy]")) { return; }
      var html = now.innerHTML, quiet = plain(html) === plain(was.kckHtml);
      if (html === was.kckHtml) { return; }
      ["aria-label", "href"].forEach(function (name) { if (now.hasAttribute(name)) { was.setAttribute(name, now.getAttribute(name)); } });
      var at = doc.activeElement !== was && was.contains(doc.activeElement) ? $(STOPS, was).indexOf(doc.activeElement) : -1;
      was.replaceChildren.apply(was, Array.prototype.map.call(now.childNodes, function (one) { return doc.importNode(one, true); }));
      was.kckHtml = html;
      if (at >= 0 && $(STOPS, was)[at]) { $(STOPS, was)[at].focus({ preventScroll: true }); }
      if (!quiet) { changed++; }
    });
    ages(); $("svg").forEach(cursor);
    if (!changed) { return; }
    doc.dispatchEvent(new Event("kck:changed"));
    if (performance.now() - saidAt > 60000) { aloud(pulse && pulse.dataset.updated); saidAt = performance.now(); }
  }
  var saidAt = 0;
  function aloud(text) { if (pulse) { pulse.querySelector(".kck-pulse-said").textContent = text; } }

  /* how it stands, in words; said aloud only when it becomes another */
  var stands = "";
  function stand(name, text) {
    if (!pulse) { return; }
    var state = pulse.querySelector(".kck-pulse-text"), button = pulse.querySelector("button");
    state.textContent = text || pulse.dataset[name];
    button.textContent = paused ? pulse.dataset.resume : pulse.dataset.pause;
    button.hidden = ended;
    if (name === stands) { return; }
    if (stands || name !== "alive") { aloud(pulse.dataset[name + "Said"] || pulse.dataset[name]); }
    pulse.className = "kck-pulse kck-pulse-" + name;
    stands = name;
  }
  function show() {
    if (ended) { return stand("ended"); }
    if (paused) { return stand("paused"); }
    if (failures) { return stand("lost", pulse && pulse.dataset.lost.replace("%s", String(Math.max(1, Math.ceil((due - performance.now()) / 1000))))); }
    stand("alive");
  }

  function later(wait) { clearTimeout(timer); due = performance.now() + wait; timer = ended || paused || doc.hidden ? null : setTimeout(poll, wait); show(); }
  function rest() { return told ? every * 10 : every; }
  function poll() {
    if (ended || paused || doc.hidden) { return; }
    if (asking) { again = true; return; }
    asking = true; again = false; clearTimeout(timer);
    var headers = { "X-Requested-With": "kck" }, after = 0, stop = window.AbortController ? new AbortController() : null;
    var limit = setTimeout(function () { if (stop) { stop.abort(); } }, 30000);
    if (etag) { headers["If-None-Match"] = etag; }
    fetch(location.href, { headers: headers, credentials: "same-origin", cache: "no-store", redirect: "manual", signal: stop ? stop.signal : undefined }).then(function (response) {
      var date = Date.parse(response.headers.get("Date"));
      if (response.type === "opaqueredirect" || [401, 403, 404, 410].indexOf(response.status) >= 0) { ended = true; hush(); return null; }
      if (response.status === 304 || response.ok) { if (date) { serverAt = date; toldAt = performance.now(); } }
      if (response.status === 304) { return null; }
      after = 1000 * (+response.headers.get("Retry-After") || 0);
      if (!response.ok) { throw new Error(String(response.status)); }
      etag = response.headers.get("ETag");
      return response.text();
    }).then(function (text) { failures = 0; if (text) { take(text); } if (!stream) { listen(); } }, function () { failures++; }).then(function () {
      clearTimeout(limit); asking = false;
      if (again && !failures) { return later(0); }
      later(failures ? Math.max(after, Math.min(every * Math.pow(2, failures), Math.max(LONGEST, every))) * (0.75 + Math.random() / 2) : rest());
    });
  }

  /* the stream says that something has changed; what to, the page says */
  var closedAt = -AGAIN;
  function listen() {
    if (!window.EventSource || body.stream === undefined || stream || ended || paused || doc.hidden || performance.now() - closedAt < AGAIN) { return; }
    var own = stream = new EventSource(location.href);
    timeout = setTimeout(without, MISSING);
    own.addEventListener("begin", function () { clearTimeout(timeout); told = true; });
    own.addEventListener("full", without);
    ["ready", "changed"].forEach(function (name) { own.addEventListener(name, function () { setTimeout(poll, name === "changed" ? Math.random() * 200 : 0); }); });
    own.onerror = function () {
      if (stream !== own) { return; }
      var was = told;
      told = false;
      if (own.readyState === 2) { if (was) { hush(); } else { without(); } }
      poll();
    };
  }
  function hush() { clearTimeout(timeout); if (stream) { stream.close(); } stream = null; told = false; }
  function without() { hush(); closedAt = performance.now(); if (!asking) { later(rest()); } }

  if (every && window.fetch && window.DOMParser && doc.querySelector("[data-live]")) {
    $("[data-live]").forEach(function (one) { one.kckHtml = one.innerHTML; });
    if (pulse) {
      pulse.hidden = false;
      pulse.querySelector("button").addEventListener("click", function () {
        paused = !paused;
        if (paused) { hush(); later(0); } else { failures = 0; listen(); poll(); }
        show();
      });
    }
    doc.addEventListener("visibilitychange", function () { if (doc.hidden) { clearTimeout(timer); hush(); } else { ages(); listen(); poll(); show(); } });
    window.addEventListener("online", function () { if (failures) { poll(); } });
    window.addEventListener("pagehide", hush);
    window.addEventListener("pageshow", function (event) { if (event.persisted) { ages(); listen(); poll(); } });
    setInterval(function () { if (!doc.hidden) { ages(); show(); } }, 1000);
    listen();
    later(rest());
  }
  $("svg").forEach(cursor);
})();
