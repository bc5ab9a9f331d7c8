"use strict";
const images = JSON.parse(document.getElementById("images").textContent);
const list = document.getElementById("cards");
const cards = [...list.children];
const bar = document.getElementById("bar");

// Pictures are decoded when they come near the screen, so that large reports open at once.
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    target.src = images[target.dataset.key];
    watcher.unobserve(target);
  }
}, { rootMargin: "1200px" });
for (const image of document.querySelectorAll("img[data-key]")) watcher.observe(image);

const words = new Map(cards.map((card) => [card, card.querySelector(".read").textContent.toLowerCase()]));

function fits(card, wanted) {
  const { status, zooms, reward } = card.dataset;
  if (wanted.status && status !== wanted.status) return false;
  if (wanted.zooms && zooms !== wanted.zooms) return false;
  if (wanted.least !== "" && !(reward !== "" && Number(reward) >= Number(wanted.least))) return false;
  if (wanted.most !== "" && !(reward !== "" && Number(reward) <= Number(wanted.most))) return false;
  return words.get(card).includes(wanted.search.trim().toLowerCase());
}

function update() {
  const wanted = Object.fromEntries(new FormData(bar));
  let shown = 0;
  for (const card of cards) {
    card.hidden = !fits(card, wanted);
    shown += !card.hidden;
  }
  const value = (card) => (card.dataset[wanted.sort] === "" ? -Infinity : Number(card.dataset[wanted.sort]));
  const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
  const order = (a, b) => a.dataset.order - b.dataset.order;
  list.append(...[...cards].sort((a, b) => wanted.direction * compare(a, b) || order(a, b)));
  document.getElementById("count").textContent = `${shown} of ${cards.length}`;
  document.getElementById("none").hidden = shown > 0;
}
bar.addEventListener("input", update);
bar.addEventListener("submit", (event) => event.preventDefault());
update();

// A point in the text lights up its mark on the image.
for (const type of ["mouseover", "mouseout"]) {
  list.addEventListener(type, (event) => {
    const name = event.target.closest(".point-name");
    if (!name) return;
    const spot = name.closest(".card").querySelector(`.original .spot[data-number="${name.dataset.number}"]`);
    spot?.classList.toggle("lit", type === "mouseover");
  });
}

const large = document.getElementById("large");
list.addEventListener("click", (event) => {
  if (!event.target.matches("img[data-key]")) return;
  large.querySelector("img").src = event.target.src;
  large.showModal();
});
large.addEventListener("click", () => large.close());
