// What the console does beside htmx: keys, copying. Every page works without it.
"use strict";

// Keys: an element with data-key is focused, if it takes text, or followed. A key may be two, one after the other: "g l". Whoever talks to their
// computer can switch them off.
const keysOff = () => localStorage.getItem("keys") === "off";
let before = "";
document.addEventListener("pointerdown", () => { before = ""; });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.key === "Shift" || keysOff()) return;
  if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
  const keyed = [...document.querySelectorAll("[data-key]")];
  const found = [`${before} ${event.key}`, event.key].map((k) => keyed.find((e) => e.dataset.key === k)).find(Boolean);
  before = found ? "" : event.key;
  if (!found) return;
  event.preventDefault();
  if (found.matches("input, textarea, select")) found.focus();
  else found.click();
});

// What works only here is hidden until now: data-scripted. A button with data-opens shows the dialog of that id; the browser closes it, and gives the
// focus back.
for (const e of document.querySelectorAll("[data-scripted]")) e.hidden = false;
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
});
const keysSwitch = document.querySelector("[data-keys-switch]");
if (keysSwitch) {
  keysSwitch.checked = !keysOff();
  keysSwitch.addEventListener("change", () => localStorage.setItem("keys", keysSwitch.checked ? "on" : "off"));
}

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
