
// ------------------------------------------------------------------------------- the generator

const NAMES = { " ": "space", "\n": "line end", "\t": "tab", "\r": "return" };

/** A symbol as people read it. */
function shown(id) {
  if (id === model.chars.length) return "end";
  const char = model.chars[id];
  return NAMES[char] ?? (/[\p{C}\p{Z}]/u.test(char) ? `U+${char.codePointAt(0).toString(16)}` : char);
}

/** Say whether the model knows all characters of the beginning. */
function check() {
  let wrong = "";
  try { model.known($("prime").value, "error"); } catch (error) { wrong = error.message; }
  $("wrong").textContent = wrong && `${wrong[0].toUpperCase()}${wrong.slice(1)}.`;
  $("prime").setAttribute("aria-invalid", String(wrong !== ""));
  return wrong === "";
}

/** Show the likeliest characters after the beginning. */
function showNext() {
  const prime = $("prime").value, probs = model.nextProbs(prime, { onUnknown: "skip" });
  const best = [...probs.keys()].sort((a, b) => probs[b] - probs[a]).slice(0, 8);
  $("next").caption.textContent = prime ? `After “${prime}”` : "At the beginning";
  $("next").tBodies[0].replaceChildren(...best.map((id) => {
    const row = element("tr"), head = element("th", shown(id)), bar = element("i");
    head.scope = "row";
    bar.style.width = `${100 * probs[id]}%`;
    const middle = element("td");
    middle.append(bar);
    row.append(head, middle, element("td", `${(100 * probs[id]).toFixed(1)} %`));
    return row;
  }));
}

let run = 0; // the number of the latest writing: an earlier one stops

/** Let the page react, then go on if nothing else is written by then. */
const pause = (mine) => new Promise((go) => setTimeout(() => { if (mine === run) go(); }));

async function write() {
  if (!check()) return;
  const mine = ++run, prime = $("prime").value, amount = $("amount").valueAsNumber;
  const options = {
    prime, seed: $("seed").valueAsNumber, temperature: $("temperature").valueAsNumber,
    exact: $("exact").checked,
  };
  const list = model.records ? element("ul") : element("span");
  $("written").setAttribute("aria-busy", "true");
  $("written").replaceChildren(...(model.records ? [list] : [element("b", prime), list]));
  $("speed").textContent = "";
  let written = 0, spent = 0, since = performance.now();
  const late = () => performance.now() - since > 12;
  const rest = async () => {
    spent += performance.now() - since;
    await pause(mine);
    since = performance.now();
  };
  if (model.records) {
    for (let number = 0; number < amount; number++) {
      const text = model.generate({ ...options, number, length: 1000 });
      const item = element("li");
      item.append(element("b", prime), text);
      list.append(item);
      written += text.length + 1;
      if (late()) await rest();
    }
  } else {
    let text = "";
    for (const char of model.stream({ ...options, length: amount })) {
      written++;
      text += model.ofBytes ? String.fromCharCode(char) : char;
      if (late()) {
        list.append(text);
        text = "";
        await rest();
      }
    }
    list.append(text);
    if (model.ofBytes) list.textContent = model.decode(Array.from(list.textContent, (c) => c.charCodeAt(0)));
  }
  spent += performance.now() - since;
  $("written").setAttribute("aria-busy", "false");
  const perSecond = Math.round(written / Math.max(spent, 0.1) * 1000);
  $("speed").textContent = `${perSecond.toLocaleString("en")} characters a second`;
}

if (model.records) {
  $("amount-label").textContent = "How many";
  $("amount").value = "20";
}
$("form").addEventListener("submit", (event) => { event.preventDefault(); write(); });
$("again").addEventListener("click", () => { $("seed").value = $("seed").valueAsNumber + 1 || 0; write(); });
$("prime").addEventListener("input", () => { check(); showNext(); });
$("temperature").addEventListener("input", () => { $("chosen").value = $("temperature").value; });
requestAnimationFrame(() => setTimeout(() => {
  performance.mark("painted");
  showNext();
  write();
}));
