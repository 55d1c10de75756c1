
// ------------------------------------------------------------------------ what both pages have

const $ = (id) => document.getElementById(id);
const model = new CharRNN(JSON.parse($("model").textContent));

/** A new element with a text. */
function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
