
// ----------------------------------------------------------------------------------- the meter

const RATES = [["10 a second, a website", 10], ["10,000 a second, a slow hash", 1e4], ["10 billion a second, a fast hash", 1e10]];
const UNITS = [["year", 31557600], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const COLORS = 8; // bits of a character from which it has the full color

/** A number of guesses or units, to three digits. */
function number(n) {
  if (!(n < 1e15)) return n === Infinity ? "no number of" : n.toExponential(1).replace("e+", " × 10^");
  return Number(n.toPrecision(n < 1000 ? 3 : 2)).toLocaleString("en", { maximumFractionDigits: 0 });
}

function duration(seconds) {
  if (seconds < 1) return "less than a second";
  const [name, unit] = UNITS.find(([, unit]) => seconds >= unit), n = number(seconds / unit);
  return `${n} ${name}${n === "1" ? "" : "s"}`;
}

/** What the guess numbers say: [the number, its interval]. */
function described({ guesses, low, high }, text) {
  if (guesses === Infinity) {
    const unknown = [...text].find((char) => model.encode(char).includes(-1));
    const why = unknown ? `it does not know “${unknown}”` : "it has no empty string";
    return ["The model never guesses this", `${why[0].toUpperCase()}${why.slice(1)}, which says nothing about people who do.`];
  }
  const about = high > low || guesses > 256 ? "About " : "";
  const interval = high > low ? `With 95 % confidence between ${number(low)} and ${number(high)}.` : "";
  return [`${about}${number(guesses)} guess${guesses === 1 ? "" : "es"}`, interval];
}

/** Show the bits of each known character, and of the end. */
function showLetters(text) {
  const { losses } = model.losses(text, { onUnknown: "skip" });
  const known = [...text].filter((char) => !model.encode(char).includes(-1));
  $("letters").replaceChildren(...losses.map((loss, i) => {
    const bits = loss / Math.LN2, item = element("li");
    const char = element("b", i < known.length ? ($("hide").checked ? "•" : known[i]) : "end");
    item.append(char, element("small", bits.toFixed(1)));
    const share = Math.round(100 * Math.min(bits / COLORS, 1));
    item.style.background = `color-mix(in srgb, var(--hot) ${share}%, var(--paper))`;
    return item;
  }));
  const total = losses.reduce((sum, loss) => sum + loss, 0) / Math.LN2;
  $("bits").textContent = `${total.toFixed(1)} bits in all. Surprising characters have more.`;
}

let waiting; // for the end of typing, before a screen reader says the result

function show() {
  const text = $("text").value;
  $("surprise").hidden = $("times").hidden = text === "";
  clearTimeout(waiting);
  if (text === "") {
    $("guesses").textContent = $("interval").textContent = $("live").textContent = "";
    $("bar").firstElementChild.style.width = "0";
    $("bar").setAttribute("aria-valuenow", "0");
    $("bar").setAttribute("aria-valuetext", "nothing typed");
    return;
  }
  const start = performance.now(), rank = model.rank(text);
  performance.measure("rank", { start });
  const [guesses, interval] = described(rank, text);
  const digits = Math.min(Math.log10(rank.guesses), 20), none = rank.guesses === Infinity;
  $("guesses").textContent = `${guesses}.`;
  $("interval").textContent = interval;
  $("bar").firstElementChild.style.width = none ? "0" : `${5 * digits}%`;
  $("bar").setAttribute("aria-valuenow", none ? "0" : digits.toFixed(1));
  $("bar").setAttribute("aria-valuetext", guesses);
  $("times").hidden = none;
  $("times").tBodies[0].replaceChildren(...RATES.map(([name, rate]) => {
    const row = element("tr"), head = element("th", name);
    head.scope = "row";
    row.append(head, element("td", duration(rank.guesses / rate)));
    return row;
  }));
  showLetters(text);
  waiting = setTimeout(() => { $("live").textContent = `${guesses}. ${interval}`; }, 700);
}

$("form").addEventListener("submit", (event) => event.preventDefault());
$("text").addEventListener("input", show);
$("hide").addEventListener("change", () => {
  $("text").type = $("hide").checked ? "password" : "text";
  show();
});
requestAnimationFrame(() => setTimeout(() => {
  performance.mark("painted");
  show();
  // The engine compiles what has run often. The first string that somebody types need not wait.
  for (let number = 0; number < 10; number++) model.rank(model.generate({ seed: 1, number, length: 20 }));
}));
