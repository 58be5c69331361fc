// Small comforts of the console on top of pages that work without any script.
"use strict";

// "/" leads to the search from anywhere but a field.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable], .graphiql-container")) return;
  const field = document.querySelector("[data-search]");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});

// Clear values are masked again when their time is over; what is being typed elsewhere on the page stays.
function countDown(notice) {
  const shown = notice.querySelector("[data-left-shown]");
  const end = performance.now() + Number(notice.dataset.left) * 1000;
  const timer = setInterval(() => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left > 0) {
      shown.textContent = left === 1 ? "1 second" : `${left} seconds`;
      return;
    }
    clearInterval(timer);
    for (const value of document.querySelectorAll("[data-clear]")) {
      value.textContent = "***";
      value.className = "masked";
      value.removeAttribute("data-clear");
    }
    const words = "The details are masked again.";
    notice.textContent = words;
    document.querySelector("[data-masked-again]").textContent = words;
  }, 1000);
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-left]").forEach(countDown));
