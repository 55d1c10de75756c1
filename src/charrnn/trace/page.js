"use strict";
// Only what is near the window has an element for each character: the text may be long. The rest is one piece of text a block.
(() => {
  const LARGEST_BLOCK = 2048, BLOCK = 320, MOST_LINES = 16; // characters, and lines, of a block
  const MOST_BITS = 8; // of surprise: what is above has the same colour
  const $ = (id) => document.getElementById(id);
  const narrow = () => getComputedStyle($("help")).display === "none"; // as the style has it
  const meta = JSON.parse($("meta").textContent);
  const text = $("text");

  function decoded(id) {
    const data = $(id).textContent;
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(data);
    const characters = atob(data), bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes;
  }
  const numbers = (id, kind) => new kind(decoded(id).buffer);
  const once = (make) => { let made; return () => (made ??= make()); };

  const Ids = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[meta.id_bytes];
  const ids = numbers("ids", Ids), surprise = numbers("surprise", Float32Array);
  const nextIds = once(() => numbers("next", Ids)), nextProbs = once(() => numbers("probs", Uint16Array));
  const saliency = once(() => new Int8Array(decoded("saliency").buffer)), peaks = once(() => numbers("peaks", Float32Array));
  const size = ids.length;
  const shown = meta.symbols.map(([label, , kind]) => (kind === "feed" ? label + "\n" : label));
  const special = meta.symbols.map(([, , kind]) => kind !== "");
  const feed = meta.symbols.map(([, , kind]) => kind === "feed"); // ends a line

  let mode = meta.units.length && Math.abs(meta.units[0].correlation) > 0.3 ? "unit" : "surprise";
  let unit = 0, states = null, whole = null, cursor = -1, pointed = -1, tipped = -1, diverging = [], sequential = [];

  // ---------------------------------------------------------------------------------------------------------------- colours

  function mixed(from, to, share) {
    return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * share)).join(", ")})`;
  }

  function makePalettes() {
    const [low, zero, high, hot] = ["low", "zero", "high", "hot"].map((id) =>
      getComputedStyle($(id)).backgroundColor.match(/[\d.]+/g).slice(0, 3).map(Number));
    diverging = Array.from({ length: 255 }, (_, q) => mixed(zero, q < 127 ? low : high, Math.abs(q - 127) / 127));
    sequential = Array.from({ length: 256 }, (_, q) => mixed(zero, hot, q / 255));
  }

  function colour(i) {
    if (mode === "unit") return diverging[i < meta.n && states ? states[i] : 127];
    if (mode === "surprise") return sequential[Math.round(Math.min(surprise[i] / MOST_BITS, 1) * 255)];
    const distance = cursor - i;
    return diverging[cursor >= 0 && distance > 0 && distance <= meta.back ? 127 + saliency()[(cursor + 1) * meta.back - distance] : 127];
  }

  // ---------------------------------------------------------------------------------------------------------------- text

  const blocks = [], lines = [0];
  const blockOf = new Map(); // of an element
  const alive = new Set();

  function split() {
    let start = 0, feeds = 0, space = -1;
    const close = (end) => { blocks.push({ start, end, element: null }); start = end; feeds = 0; space = -1; };
    for (let i = 0; i < size; i++) {
      if (feed[ids[i]]) {
        lines.push(i + 1);
        if (++feeds >= MOST_LINES || i + 1 - start >= BLOCK) close(i + 1);
      } else if (shown[ids[i]] === " ") space = i;
      if (i + 1 - start >= LARGEST_BLOCK) close(space >= start ? space + 1 : i + 1);
    }
    if (start < size) close(size);
  }

  function plain(block) {
    let result = "";
    for (let i = block.start; i < block.end; i++) result += shown[ids[i]];
    return result;
  }

  function enliven(block) {
    if (alive.has(block)) return;
    const pieces = document.createDocumentFragment();
    for (let i = block.start; i < block.end; i++) {
      const piece = document.createElement("span");
      piece.textContent = shown[ids[i]];
      if (special[ids[i]]) piece.className = "special";
      piece.style.backgroundColor = colour(i);
      pieces.append(piece);
    }
    block.element.replaceChildren(pieces);
    alive.add(block);
    if (cursor >= block.start && cursor < block.end) spanOf(cursor).classList.add("cursor");
  }

  function still(block) {
    if (alive.delete(block)) block.element.textContent = plain(block);
  }

  function blockAt(i) {
    let low = 0, high = blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (blocks[middle].start <= i) low = middle; else high = middle - 1;
    }
    return blocks[low];
  }

  function spanOf(i) {
    const block = blockAt(i);
    enliven(block);
    return block.element.childNodes[i - block.start];
  }

  function indexOf(node) {
    const span = node.nodeType === 1 ? node.closest("#text span") : null;
    if (!span) return -1;
    return blockOf.get(span.parentNode).start + Array.prototype.indexOf.call(span.parentNode.childNodes, span);
  }

  function build() {
    split();
    const pieces = document.createDocumentFragment();
    let first = 0;
    for (const block of blocks) {
      block.element = document.createElement("div");
      block.element.dir = "auto";
      block.element.dataset.start = block.start;
      blockOf.set(block.element, block);
      if (first < 4000) enliven(block); else block.element.textContent = plain(block);
      first = block.end;
      pieces.append(block.element);
    }
    text.append(pieces);
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) (entry.isIntersecting ? enliven : still)(blockOf.get(entry.target));
    }, { root: text, rootMargin: "300px" });
    for (const block of blocks) watch.observe(block.element);
  }

  function paint() {
    for (const block of alive) {
      const pieces = block.element.childNodes;
      for (let i = block.start; i < block.end; i++) pieces[i - block.start].style.backgroundColor = colour(i);
    }
    explain();
  }

  // ---------------------------------------------------------------------------------------------------------------- words

  const short = (value, digits) => (value < 1e4 ? value.toFixed(digits) : value.toExponential(1));
  const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + short(Math.abs(value), digits);
  const numbered = (one) => (meta.layers.length > 1 ? `layer ${one.layer}, unit ${one.number}` : `unit ${one.number}`);
  const partNames = new Map(meta.parts);
  const unitName = (one) => (meta.parts.length > 1 ? `${numbered(one)}, ${partNames.get(one.part)}` : numbered(one));
  const named = (symbol) => meta.symbols[symbol][1];
  const percent = (p) => (p < 0.01 ? "<1 %" : `${Math.round(100 * p)} %`);
  const isGate = (one) => one.least === 0;
  function value(one, byte) {
    const number = one.least + (byte / 254) * (one.most - one.least);
    return isGate(one) ? number.toFixed(2) : signed(number);
  }

  function explain() {
    const one = meta.units[unit];
    const both = mode !== "surprise";
    $("scale").className = both ? "both" : "one";
    let least = "0 bits", most = `${MOST_BITS} bits and more`, about = "How much each character surprises the network";
    if (mode === "unit") {
      const digits = one.most === 1 ? 0 : 2;
      [least, most] = isGate(one) ? ["0, closed", "1, open"] : [signed(one.least, digits), signed(one.most, digits)];
      about = unitName(one) + (one.follows ? ` follows “${one.follows}” (correlation ${signed(one.correlation)})` : "");
    } else if (mode === "saliency") {
      [least, most] = ["less likely", "likelier"];
      about = "Click a character: what made the network expect it?";
      if (cursor >= 0) about = `What made ${named(ids[cursor])} likelier or less likely, up to ±${peaks()[cursor].toPrecision(2)} bits`;
    }
    $("least").textContent = least;
    $("most").textContent = most;
    $("about").textContent = about;
    $("legend").setAttribute("aria-label", `From ${least} to ${most}`);
    describe();
  }

  function expected(i) {
    const found = [];
    for (let k = 0; k < meta.top && i < meta.n; k++) {
      const symbol = nextIds()[i * meta.top + k];
      found.push({ symbol, p: nextProbs()[i * meta.top + k] / 65535, came: i + 1 < size && ids[i + 1] === symbol });
    }
    return found;
  }

  function element(name, content, className) {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...[content].flat());
    return made;
  }

  function table(i, caption) {
    const rows = expected(i).map(({ symbol, p, came }) => {
      const bar = document.createElement("i");
      bar.style.width = `${100 * p}%`;
      const row = element("tr", [element("td", visible(symbol)), element("td", bar), element("td", percent(p))], came ? "came" : "");
      row.title = named(symbol) + (came ? ", which came" : "");
      return row;
    });
    return element("table", [element("caption", caption), element("tbody", rows)]);
  }

  const visible = (symbol) => (meta.symbols[symbol][0] === " " ? "␣" : meta.symbols[symbol][0]);

  function lineOf(i) {
    let low = 0, high = lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (lines[middle] <= i) low = middle; else high = middle - 1;
    }
    return low;
  }

  // What the unit that colours the text holds at a character: its state, cell and gates, as far as they are in the page.
  function holds(i) {
    const found = [`${numbered(meta.units[unit])}: `];
    for (const [index, bytes] of whole()) {
      const one = meta.units[index];
      const piece = element("span", `${meta.parts.length > 1 ? `${one.part} ` : ""}${value(one, bytes[i])}`, index === unit ? "chosen" : "");
      piece.title = partNames.get(one.part);
      found.push(piece);
    }
    return found;
  }

  function describe() {
    const i = pointed >= 0 ? pointed : cursor;
    if (i < 0) {
      $("details").replaceChildren(element("p", "Point at a character.", "quiet"));
      return;
    }
    const line = lineOf(i), bits = surprise[i];
    const parts = [
      element("h2", [element("b", visible(ids[i])), `line ${line + 1}, column ${i - lines[line] + 1}`]),
      element("p", `${bits.toFixed(2)} bits: it had a probability of ${percent(2 ** -bits)}`),
    ];
    if (i < meta.n && states) parts.push(element("p", holds(i)));
    if (i < meta.n) parts.push(table(i, "Expected next"));
    $("details").replaceChildren(...parts);
  }

  function say(i) {
    const next = expected(i).slice(0, 3).map(({ symbol, p }) => `${named(symbol)} ${percent(p)}`).join(", ");
    const one = meta.units[unit], part = meta.parts.length > 1 ? `${partNames.get(one?.part)} ` : "";
    const what = mode === "unit" && i < meta.n ? part + value(one, states[i]) : `${surprise[i].toFixed(1)} bits`;
    $("live").textContent = `${named(ids[i])}, ${what}. ${next ? `Expected next: ${next}.` : ""}`;
  }

  function showTip(i) {
    const tip = $("tip");
    tipped = i;
    tip.hidden = i < 0 || i >= meta.n;
    if (tip.hidden) return;
    tip.replaceChildren(table(i, `after ${named(ids[i])}`));
    const spot = spanOf(i).getBoundingClientRect(), box = tip.getBoundingClientRect();
    const below = spot.bottom + 8 + box.height < innerHeight;
    tip.style.top = `${below ? spot.bottom + 8 : Math.max(4, spot.top - 8 - box.height)}px`;
    tip.style.left = `${Math.max(4, Math.min(spot.left, innerWidth - box.width - 8))}px`;
  }

  // ---------------------------------------------------------------------------------------------------------------- doing

  function setMode(wanted) {
    if (wanted === "saliency" && !meta.back) return;
    if (wanted === "unit" && !meta.units.length) wanted = "surprise";
    mode = wanted;
    for (const input of document.getElementsByName("mode")) input.checked = input.value === mode;
    paint();
  }

  function setUnit(index) {
    unit = index;
    states = decoded(`unit-${index}`);
    const { layer, number } = meta.units[index];
    whole = once(() => meta.units.flatMap((one, i) => (one.layer === layer && one.number === number ? [[i, decoded(`unit-${i}`)]] : [])));
    $(`pick-${index}`).checked = true;
  }

  function setCursor(i) {
    if (cursor >= 0) spanOf(cursor).classList.remove("cursor");
    cursor = i;
    const span = spanOf(i);
    span.classList.add("cursor");
    span.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (mode === "saliency") paint(); else describe();
  }

  function vertical(i, down) {
    // The nearest character of the next line, as it is broken in this window, that is no further to the right.
    const from = spanOf(i).getBoundingClientRect();
    let best = i, top = null;
    for (let j = i + down; j >= 0 && j < size; j += down) {
      const box = spanOf(j).getBoundingClientRect();
      if (Math.abs(box.top - from.top) < 4) continue;
      top ??= box.top;
      if (Math.abs(box.top - top) > 4) break;
      best = j;
      if (down < 0 ? box.left <= from.left + 1 : box.left >= from.left - 1) break;
    }
    return best;
  }

  const MOVES = {
    ArrowRight: (i) => i + 1,
    ArrowLeft: (i) => i - 1,
    ArrowDown: (i) => vertical(i, 1),
    ArrowUp: (i) => vertical(i, -1),
    PageDown: (i) => { for (let k = 0; k < 12; k++) i = vertical(i, 1); return i; },
    PageUp: (i) => { for (let k = 0; k < 12; k++) i = vertical(i, -1); return i; },
    Home: (i, far) => (far ? 0 : lines[lineOf(i)]),
    End: (i, far) => (far ? size - 1 : (lines[lineOf(i) + 1] ?? size) - 1),
  };

  text.addEventListener("keydown", (event) => {
    if (!size || event.altKey || event.metaKey) return;
    const move = MOVES[event.key];
    if (move) {
      pointed = -1;
      const to = cursor < 0 ? 0 : move(cursor, event.ctrlKey);
      setCursor(Math.max(0, Math.min(size - 1, to)));
      showTip(cursor);
      say(cursor);
    } else if ((event.key === "Enter" || event.key === " ") && cursor >= 0) setMode("saliency");
    else if (event.key === "Escape") showTip(-1);
    else return;
    event.preventDefault();
  });
  text.addEventListener("pointerover", (event) => {
    const i = indexOf(event.target);
    if (i < 0) return;
    pointed = i;
    describe();
    showTip(i);
  });
  text.addEventListener("pointerleave", () => { pointed = -1; showTip(-1); describe(); });
  text.addEventListener("blur", () => showTip(-1));
  // What the pointer is over has gone; the cursor has only moved.
  text.addEventListener("scroll", () => showTip(pointed < 0 && tipped === cursor ? tipped : -1), { passive: true });
  text.addEventListener("click", (event) => {
    const i = indexOf(event.target);
    if (i < 0) return;
    if (narrow()) $("list").open = false; // it covers what there is to say about the character
    setCursor(i);
    setMode("saliency");
  });
  $("modes").addEventListener("change", (event) => setMode(event.target.value));
  $("units").addEventListener("change", (event) => { setUnit(Number(event.target.value)); setMode("unit"); });
  $("units").addEventListener("click", (event) => { if (event.target.checked && mode !== "unit") setMode("unit"); }); // the one chosen before

  // ---------------------------------------------------------------------------------------------------------------- list of units

  const ORDERS = {
    rank: (a, b) => a - b,
    number: (a, b) => meta.units[a].layer - meta.units[b].layer || meta.units[a].number - meta.units[b].number,
    property: (a, b) => (meta.units[a].follows < meta.units[b].follows ? -1 : meta.units[a].follows > meta.units[b].follows ? 1 : a - b),
  };

  const ofLayer = (layer) => $("layer").value === "all" || layer === Number($("layer").value);
  const layersChosen = () => meta.layers.filter((_, layer) => ofLayer(layer));
  const listed = () => [...meta.units.keys()].filter((i) => ofLayer(meta.units[i].layer) && meta.units[i].part === $("part").value);

  function offer(select, options) {
    const before = select.value;
    select.replaceChildren(...options.map(([name, label]) => Object.assign(element("option", label), { value: name })));
    if (options.some(([name]) => name === before)) select.value = before;
    select.hidden = options.length < 2;
  }

  function offerLayers() {
    const layers = meta.layers.map(({ cell }, i) => [i, `layer ${i}, ${cell}`]).filter(([i]) => meta.layers[i].parts.length);
    offer($("layer"), layers.length === 1 ? layers : [["all", "all layers"], ...layers]);
    offerParts();
  }

  function offerParts() {
    const there = new Set(layersChosen().flatMap(({ parts }) => parts));
    offer($("part"), meta.parts.filter(([name]) => there.has(name)));
    $("choice").hidden = !meta.units.length || ($("layer").hidden && $("part").hidden);
  }

  function labelOf(i) {
    const one = meta.units[i], input = document.createElement("input"), bar = document.createElement("u");
    Object.assign(input, { type: "radio", name: "unit", value: i, id: `pick-${i}`, checked: i === unit });
    bar.className = one.correlation < 0 ? "minus" : "plus";
    bar.style.width = `${100 * Math.abs(one.correlation)}%`;
    const label = element("label", [
      input,
      element("b", [one.follows || numbered(one), element("small", one.follows ? numbered(one) : "follows nothing known")]),
      element("i", bar),
      element("output", one.follows ? signed(one.correlation) : ""),
    ]);
    label.title = one.part === "h" ? `trace.states[${one.layer}][:, ${one.number}]` : `trace.parts[${one.layer}]["${one.part}"][:, ${one.number}]`;
    return label;
  }

  function listUnits() {
    const there = listed().sort(ORDERS[$("order").value]);
    $("units").replaceChildren(...there.map(labelOf));
    const all = layersChosen().reduce((sum, { units, parts }) => sum + (parts.includes($("part").value) ? units : 0), 0);
    document.querySelector("summary").textContent = there.length < all ? `${there.length} of ${all} units` : `${all} units`;
    $("units").setAttribute("aria-label", `Unit that colors the text${meta.parts.length > 1 ? `, by its ${partNames.get($("part").value)}` : ""}`);
    $("meaning").textContent = $("choice").hidden || $("part").hidden ? "" : meta.parts.find(([name]) => name === $("part").value)[2];
    filterUnits();
  }

  function filterUnits() {
    const wanted = $("filter").value.trim().toLowerCase();
    for (const label of $("units").children) label.hidden = !label.querySelector("b").textContent.toLowerCase().includes(wanted);
  }

  // Another layer, or part: of the unit that was shown, if it has that, else of the one that follows something best.
  function choose() {
    const before = meta.units[unit], there = listed();
    const same = there.find((i) => meta.units[i].layer === before.layer && meta.units[i].number === before.number);
    listUnits();
    setUnit(same ?? there[0]);
    setMode("unit");
    const list = $("units"); // only this is scrolled, not what is around it
    list.scrollTop = $(`pick-${unit}`).parentNode.offsetTop - list.clientHeight / 2;
  }

  $("filter").addEventListener("input", filterUnits);
  $("order").addEventListener("change", listUnits);
  $("layer").addEventListener("change", () => { offerParts(); choose(); });
  $("part").addEventListener("change", choose);

  // ---------------------------------------------------------------------------------------------------------------- light and dark

  const THEMES = ["auto", "light", "dark"];
  $("theme").addEventListener("click", (event) => {
    const theme = THEMES[(THEMES.indexOf(event.target.textContent) + 1) % 3];
    event.target.textContent = theme;
    event.target.setAttribute("aria-label", theme === "auto" ? "Colors: as the system has them" : `Colors: ${theme}`);
    if (theme === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
    makePalettes();
    paint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { makePalettes(); paint(); });

  // ---------------------------------------------------------------------------------------------------------------- begin

  // The character that is chosen at first: near the beginning, the one that surprises most.
  function first() {
    let best = 0;
    for (let i = 1; i < Math.min(size, 80); i++) if (surprise[i] > surprise[best] || !best) best = i;
    return best;
  }

  if (narrow()) $("list").open = false;
  makePalettes();
  offerLayers();
  listUnits();
  if (meta.units.length) setUnit(0);
  else document.querySelector('#modes [value="unit"]').disabled = true;
  if (!meta.back) document.querySelector('#modes [value="saliency"]').disabled = true;
  build();
  if (size) setCursor(first());
  setMode(mode);
  requestAnimationFrame(() => setTimeout(() => performance.mark("painted")));
})();
