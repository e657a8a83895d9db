// What the console does beside htmx: keys, copying. Every page works without it.
"use strict";

// Keys: an element with data-key is focused, if it takes text, or followed.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (typing) return;
  const found = [...document.querySelectorAll("[data-key]")].find((e) => e.dataset.key === event.key);
  if (!found) return;
  event.preventDefault();
  if (found.matches("input, textarea, select")) found.focus();
  else found.click();
});

// Copy buttons appear only here, since without JavaScript they could do nothing.
const armCopies = (root) => {
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
  }
};
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.parentElement.querySelector("code").textContent;
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    say("Press Ctrl+C to copy.");
  }
});

// say shows a toast, which is read out.
function say(text) {
  const toast = document.createElement("p");
  toast.className = "toast good";
  toast.textContent = text;
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), 6000);
}

armCopies(document);
document.addEventListener("htmx:afterSwap", (event) => armCopies(event.target));

// The audit page, live: rows come as server-sent events, and go on top.
for (const button of document.querySelectorAll("[data-live]")) {
  let source = null;
  button.hidden = false;
  button.addEventListener("click", () => {
    const live = source === null;
    button.setAttribute("aria-pressed", String(live));
    button.textContent = live ? "Pause" : "Go live";
    if (!live) {
      source.close();
      source = null;
      return;
    }
    source = new EventSource("/audit/live?" + new URLSearchParams(new FormData(document.querySelector(".filters"))));
    source.onmessage = (event) => {
      const body = document.getElementById("events");
      if (!body) return location.reload();
      body.insertAdjacentHTML("afterbegin", event.data);
      while (body.rows.length > 500) body.lastElementChild.remove();
    };
  });
}
