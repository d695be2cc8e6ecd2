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

  /* -- kept current: the same address again, and nothing where nothing has changed */
  var EVERY = 30000, wait = EVERY, etag = null, timer = null, paused = false, pauser = doc.querySelector(".kck-paused");
  function take(text) {
    var fresh = new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html"), changed = 0;
    $("[data-live]", fresh).forEach(function (now) {
      var was = doc.querySelector('[data-live="' + now.getAttribute("data-live") + '"]');
      if (!was || was.innerHTML === now.innerHTML) { return; }
      ["aria-label", "href"].forEach(function (name) { if (now.hasAttribute(name)) { was.setAttribute(name, now.getAttribute(name)); } });
      was.replaceChildren.apply(was, Array.prototype.map.call(now.childNodes, function (one) { return doc.importNode(one, true); }));
      changed++;
    });
    if (changed) { $("svg").forEach(cursor); say(doc.title + ": " + changed + " ↻"); }
  }
  function poll() {
    if (paused || doc.hidden) { return again(); }
    var headers = { "X-Requested-With": "kck" };
    if (etag) { headers["If-None-Match"] = etag; }
    fetch(location.href, { headers: headers, credentials: "same-origin", cache: "no-store", redirect: "error" }).then(function (response) {
      wait = EVERY;
      if (response.status === 304) { return null; }
      if (!response.ok) { throw new Error(response.status); }
      etag = response.headers.get("ETag");
      return response.text();
    }).then(function (text) { if (text) { take(text); } }).catch(function () { wait = Math.min(wait * 2, 600000); }).then(again);
  }
  function again() { clearTimeout(timer); timer = setTimeout(poll, wait); }
  if (window.fetch && window.DOMParser && doc.querySelector("[data-live]")) {
    if (pauser) {
      pauser.hidden = false;
      var button = pauser.querySelector("button");
      button.addEventListener("click", function () { paused = !paused; button.setAttribute("aria-pressed", String(paused)); });
      button.setAttribute("aria-pressed", "false");
    }
    doc.addEventListener("visibilitychange", function () { if (!doc.hidden) { poll(); } });
    again();
  }
  $("svg").forEach(cursor);
})();
