"use strict";
// The page is fetched anew and put in place of itself; what carries a number is shown as its rate
// between two of them. Nothing that the server says becomes markup here but what the server made.
const EVERY = 2000, MOST = 60;
const rates = [];
let before = null, paused = false;

const scaled = (n, step, units) => {
  let at = 0;
  while (n >= step - 0.5 && at < units.length - 1) { n /= step; at++; }
  return (n >= 9.95 || n === 0 || (at === 0 && Number.isInteger(n)) ? n.toFixed(0) : n.toFixed(1)) + " " + units[at];
};
const formats = {
  count: n => scaled(n, 1000, ["", "k", "M", "G"]).trim(),
  bytes: n => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]),
  share: n => (100 * Math.min(1, n)).toFixed(0) + " %",
};
const latency = s => s < 0.0009995 ? (s * 1e6).toFixed(0) + " µs" : s < 0.00995 ? (s * 1e3).toFixed(1) + " ms"
  : s < 0.9995 ? (s * 1e3).toFixed(0) + " ms" : s.toFixed(1) + " s";
// As words::human::quantile does.
const quantile = (counts, share) => {
  const wanted = counts.reduce((sum, n) => sum + n, 0) * share;
  if (!wanted) return null;
  let below = 0;
  for (const [n, count] of counts.entries()) {
    if (count && below + count >= wanted) {
      const top = 2 ** n, bottom = n ? top / 2 : 0;
      return (bottom + (top - bottom) * (wanted - below) / count) / 1e6;
    }
    below += count;
  }
  return null;
};
const read = main => {
  const look = { up: Number(main.dataset.up), pid: main.dataset.pid, numbers: new Map(), times: new Map() };
  for (const one of main.querySelectorAll("[data-n]")) look.numbers.set(one.dataset.k, Number(one.dataset.n));
  for (const one of main.querySelectorAll("[data-h]"))
    look.times.set(one.dataset.k, one.dataset.h.split(",").map(Number));
  return look;
};
const show = (main, now) => {
  const seconds = before && before.pid === now.pid ? now.up - before.up : 0;
  if (seconds > 0) {
    for (const one of main.querySelectorAll("[data-n]")) {
      const born = Number(one.dataset.age ?? seconds), was = before.numbers.get(one.dataset.k) ?? 0;
      const rate = Math.max(0, Number(one.dataset.n) - was) / Math.max(0.001, Math.min(seconds, born));
      if (one.dataset.k === "requests") rates.push(rate);
      const bar = one.querySelector("rect");
      if (bar) {
        bar.setAttribute("width", 100 * Math.min(1, rate) + "%");
        const svg = bar.parentNode;
        svg.setAttribute("class", "bar" + (rate >= 0.9 ? " bad" : rate >= 0.7 ? " warn" : ""));
        svg.setAttribute("aria-label", "busy " + formats.share(rate));
      } else one.querySelector("b").textContent = formats[one.dataset.f](rate);
    }
    for (const one of main.querySelectorAll("[data-h]")) {
      const was = before.times.get(one.dataset.k) ?? [], counts = one.dataset.h.split(",").map(Number);
      const time = quantile(counts.map((n, at) => Math.max(0, n - (was[at] ?? 0))), Number(one.dataset.q));
      one.querySelector("b").textContent = time === null ? "–" : latency(time);
    }
    for (const one of main.querySelectorAll("[data-since]")) one.hidden = true;
  }
  rates.splice(0, rates.length - MOST);
  const most = Math.max(...rates, 1e-9), step = 100 / (MOST - 1);
  const points = rates.map((rate, at) => `${(100 - (rates.length - 1 - at) * step).toFixed(1)},${(29 - 28 * rate / most).toFixed(1)}`);
  main.querySelector("#picture")?.setAttribute("d", points.length > 1 ? "M" + points.join("L") : "");
};
const look = async () => {
  if (!paused && !document.hidden) try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.querySelector("main[data-up]");
    if (!main) throw new Error(answer.status);
    const now = read(main), scroll = document.querySelector(".scroll").scrollLeft;
    if (before && before.pid !== now.pid) rates.length = 0;
    show(main, now);
    document.querySelector("main").replaceWith(main);
    document.querySelector(".scroll").scrollLeft = scroll;
    before = now;
    document.getElementById("gone").hidden = true;
  } catch { document.getElementById("gone").hidden = false; }
  setTimeout(look, EVERY);
};
const button = document.getElementById("pause");
button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Go on" : "Pause";
  button.setAttribute("aria-pressed", paused);
});
before = read(document.querySelector("main"));
setTimeout(look, EVERY);
