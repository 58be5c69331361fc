// Small comforts on top of pages that work without any script.
"use strict";

// Trusted Types: markup comes from our own server only; strings never become scripts.
if (window.trustedTypes && trustedTypes.createPolicy) {
  trustedTypes.createPolicy("default", { createHTML: (markup) => markup });
}

function showLocalTimes(root) {
  const page = document.documentElement.lang;
  const reader = navigator.languages.find((one) => one.split("-")[0] === page) || page; // en-GB and en-US differ
  const format = new Intl.DateTimeFormat(reader, { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[data-local]")) {
    time.textContent = format.format(new Date(time.dateTime));
    time.removeAttribute("data-local");
  }
}

// Live parts: <div data-live="/…/events"> is sent ready-made markup by the server; those of its data-part that changed
// are replaced, so that focus and reading place stay where nothing changed. Without scripts the page links to itself.
function showLive(place, seen, markup) {
  const sent = document.createElement("template");
  sent.innerHTML = markup;
  for (const part of sent.content.querySelectorAll("[data-part]")) {
    const name = part.dataset.part;
    const raw = part.outerHTML;
    if (seen.get(name) === raw) continue;
    seen.set(name, raw);
    const there = place.querySelector(`[data-part="${name}"]`);
    const hadFocus = there.contains(document.activeElement);
    showLocalTimes(part);
    there.replaceWith(part);
    if (hadFocus) (part.querySelector("a, button, summary") || document.getElementById("main")).focus();
    const words = part.dataset.summary;
    if (words) document.querySelector("[data-live-summary]").textContent = words;
  }
}

function follow(place) {
  const seen = new Map();
  for (const part of place.querySelectorAll("[data-part]")) seen.set(part.dataset.part, part.outerHTML);
  const events = new EventSource(place.dataset.live);
  events.onmessage = (event) => showLive(place, seen, event.data);
  events.addEventListener("end", () => events.close());
}

// A status link carries its key behind the #, where no server log sees it; the form takes it from there.
function sendStatusKey(field) {
  if (location.hash.length < 20) return;
  field.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  field.form.submit();
}

// A link that does something once only fills in its code: whoever opens it, be it a mail scanner, has done nothing yet.
function fillInCode(field) {
  if (location.hash.length < 20) return;
  field.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-live]").forEach(follow); // before times change: it compares markup
  document.querySelectorAll("[data-status-key]").forEach(sendStatusKey);
  document.querySelectorAll("[data-code]").forEach(fillInCode);
  showLocalTimes(document);
  const important = document.querySelector("[data-focus]");
  if (important) important.focus();
});
document.addEventListener("htmx:afterSwap", (event) => showLocalTimes(event.target));
