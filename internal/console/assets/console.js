// What the console does beside htmx. Every page works without it.
//
//   data-key="c"      the key focuses the element, if it takes text, or follows it
//   data-go="l"       "g", then the letter, follows the link
//   data-keys         a box that switches keys on and off
//   data-opens="id"   opens a dialog instead of following the link; data-closes="id" closes it
//   data-copy         copies the text beside it; hidden where there is no JavaScript
//   data-focus        in a part that came: gets the focus, unless somebody went on to another field meanwhile
//   data-shows="id"   what is typed appears in the element with the id; data-empty is what stands there while nothing is, and with
//                     data-case="header" it is spelled as the name of a header
"use strict";

document.documentElement.classList.add("js");

const byId = (id) => document.getElementById(id);
const follow = (e) => (e.matches("input, textarea, select") ? (e.focus(), e.select?.()) : e.click());

// Keys can be switched off, by who talks to their computer.
const keysOff = () => localStorage.getItem("keys") === "off";
const switches = document.querySelectorAll("[data-keys]");
const showSwitches = () => { for (const s of switches) s.checked = !keysOff(); };
for (const s of switches) {
  s.closest("label").hidden = false;
  s.addEventListener("change", () => {
    localStorage.setItem("keys", s.checked ? "on" : "off");
    showSwitches();
  });
}
showSwitches();

let going = 0; // until when a letter after "g" counts
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (keysOff() || document.querySelector("dialog:modal")) return;
  const goes = performance.now() < going;
  going = 0;
  if (event.key === "g" && !goes) {
    going = performance.now() + 1500;
    return;
  }
  const name = goes ? "go" : "key";
  const found = [...document.querySelectorAll(`[data-${name}]`)].find((e) => e.dataset[name] === event.key);
  if (!found) return;
  event.preventDefault();
  follow(found);
});

document.addEventListener("click", async (event) => {
  const e = event.target.closest("[data-opens], [data-closes], [data-copy]");
  if (!e) return;
  if (e.dataset.opens) {
    event.preventDefault();
    byId(e.dataset.opens).showModal();
  } else if (e.dataset.closes) {
    byId(e.dataset.closes).close();
  } else {
    const code = e.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      say("Copied.");
    } catch { // not a secure context, or not allowed
      getSelection().selectAllChildren(code);
      say("Marked: press Ctrl+C to copy.");
    }
  }
});

document.addEventListener("input", (event) => {
  const to = byId(event.target.dataset?.shows);
  if (!to) return;
  const text = event.target.value || event.target.dataset.empty || "";
  to.textContent = event.target.dataset.case === "header" ? text.trim().toLowerCase().replace(/(^|-)[a-z]/g, (c) => c.toUpperCase()) : text;
});

// say shows a toast, which is read out.
function say(text, tone = "good") {
  const toast = document.createElement("p");
  toast.className = `toast ${tone}`;
  toast.textContent = text;
  byId("toasts").append(toast);
  leave(toast);
}

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
// leave takes a toast away after a while, but not from under somebody's eyes.
function leave(toast) {
  setTimeout(() => (toast.matches(":hover") ? leave(toast) : toast.remove()), 8000);
}

// arm prepares what came with a page or a part of one.
function arm(root) {
  for (const e of root.querySelectorAll("[data-copy]")) e.hidden = false;
  for (const e of root.querySelectorAll(".toast")) leave(e);
  if (document.activeElement === document.body) root.querySelector("[data-focus]")?.focus(); // nobody's typing is led elsewhere
  for (const e of root.querySelectorAll("[data-shows]")) e.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("htmx:load", (event) => event.target !== document.body && arm(event.target));
document.addEventListener("htmx:responseError", () => say("The server did not do that. Load the page again.", "bad"));
document.addEventListener("htmx:sendError", () => say("The server cannot be reached just now.", "bad"));
arm(document);
