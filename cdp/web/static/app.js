// Small comforts on top of pages that work without any script.
"use strict";

// Trusted Types: markup comes from our own server only; strings never become scripts.
if (window.trustedTypes && trustedTypes.createPolicy) {
  trustedTypes.createPolicy("default", { createHTML: (markup) => markup });
}

function showLocalTimes(root) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "long", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[data-local]")) {
    time.textContent = format.format(new Date(time.dateTime));
    time.removeAttribute("data-local");
  }
}

document.addEventListener("DOMContentLoaded", () => {
  showLocalTimes(document);
  const important = document.querySelector("[data-focus]");
  if (important) important.focus();
});
document.addEventListener("htmx:afterSwap", (event) => showLocalTimes(event.target));

// Live parts: <section data-live="/…/events"> takes ready-made markup from the server. Without scripts the page reloads
// by its own link instead.
document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("[data-live]")) {
    const events = new EventSource(part.dataset.live);
    events.onmessage = (event) => {
      part.innerHTML = event.data;
      showLocalTimes(part);
      const summary = document.querySelector("[data-live-summary]");
      const words = part.querySelector("[data-summary]");
      if (summary && words && summary.textContent !== words.dataset.summary) summary.textContent = words.dataset.summary;
    };
    events.addEventListener("end", () => { events.close(); if (part.dataset.liveEnd) location.reload(); });
  }
  // A status link carries its key behind the #, where no server log sees it; the form takes it from there.
  const key = document.querySelector("[data-status-key]");
  if (key && location.hash.length > 20) {
    key.value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
    key.form.submit();
  }
});
