"use strict";
/**
 * A character-level RNN that charrnn (https://pypi.org/project/charrnn-cython) trained: it scores,
 * ranks, and writes text. No library, no server.
 *
 * Every method takes `exact`. Exact results have the bits of the Python package: float32 with
 * fused multiply-adds, which JavaScript lacks, made from double arithmetic. The default is
 * arithmetic in double, several times as fast, whose results agree to about six digits.
 */
const CharRNN = (() => {

// ------------------------------------------------------------------------ numbers, bit for bit
// These are the functions of charrnn's kernels/scalar.pxd, operation by operation.

const round = Math.fround;
const UP = 1 + 2 ** -52, DOWN = 1 - 2 ** -52; // move a number by one or two of its last places
const doubles = new Float64Array(1), doubleBits = new BigInt64Array(doubles.buffer);
const floats = new Float32Array(1), floatBits = new Int32Array(floats.buffer);

/** The part of a + b that its rounded sum lacks (Knuth, 1969). */
function lost(a, b, sum) {
  const rest = sum - a;
  return (a - (sum - rest)) + (b - rest);
}

/** A rounded sum, or its neighbor if only that is odd: rounding it again then rounds only once. */
function toOdd(sum, error) {
  doubles[0] = sum;
  if (error !== 0 && !(doubleBits[0] & 1n)) doubleBits[0] += (error > 0) === (sum > 0) ? 1n : -1n;
  return doubles[0];
}

/** a + b in float32, rounded once, wherever it lies. */
const carefulSum = (a, b) => round(toOdd(a + b, lost(a, b, a + b)));

/** a * b + c of float32, rounded once. In double the product is exact, and the sum's own rounding
 * matters only next to the middle of two float32. */
function fma(a, b, c) {
  const product = a * b, sum = product + c, result = round(sum * UP);
  return result === round(sum * DOWN) ? result : carefulSum(product, c);
}

/** The upper 26 bits of a double (Veltkamp, 1968). */
function upper(a) {
  const large = 134217729 * a;
  return large - (large - a);
}

/** a * b + c of doubles, rounded once (Boldo and Melquiond, 2008). */
function fmaDouble(a, b, c) {
  const product = a * b, ah = upper(a), bh = upper(b), al = a - ah, bl = b - bh;
  const error = al * bl - (((product - ah * bh) - al * bh) - ah * bl);
  const sum = product + c, rest = lost(product, c, sum);
  return sum + toOdd(rest + error, lost(rest, error, rest + error));
}

const [LOG2E, LN2_HIGH, LN2_LOW] = [1.44269504088896341, -0.693145752, -1.42860677e-06].map(round);
const TAYLOR = [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5].map(round);

/** x = n ln 2 + r: return exp(r) - 1, and set `scale` to 2 ** n. */
let scale;
function splitExponent(x) {
  floats[0] = fma(x, LOG2E, 12582912);
  const n = round(floats[0] - 12582912);
  floatBits[0] = (floatBits[0] << 23) + (127 << 23);
  const r = fma(n, LN2_LOW, fma(n, LN2_HIGH, x));
  let q = TAYLOR[0];
  for (let i = 1; i < 6; i++) q = fma(q, r, TAYLOR[i]);
  scale = floats[0];
  return fma(round(q * r), r, r);
}

/** exp(x) for x <= 0. */
function exp(x) {
  if (x < -40) return 0;
  const less = splitExponent(x);
  return fma(scale, less, scale);
}

/** a / b for b > 0, to one of the two nearest numbers. */
function quotient(a, b) {
  floats[0] = b;
  floatBits[0] = 0x7EF311C0 - floatBits[0];
  const estimate = floats[0], e = fma(-b, estimate, 1);
  const y = fma(fma(e, e, e), round(estimate * round(1.0019173)), estimate);
  const q = round(a * y);
  return fma(fma(-b, q, a), y, q);
}

function tanh(x) {
  const less = splitExponent(round(2 * Math.min(Math.abs(x), 9.25)));
  const m = fma(scale, less, round(scale - 1)), y = quotient(m, round(m + 2));
  return x < 0 ? -y : y;
}

const sigmoid = (x) => fma(0.5, tanh(round(0.5 * x)), 0.5);

/** log(x) of a double x > 0. */
function log(x) {
  doubles[0] = x;
  let exponent = Number(doubleBits[0] >> 52n) - 1023;
  doubleBits[0] = (doubleBits[0] & 0xFFFFFFFFFFFFFn) | (1023n << 52n);
  let m = doubles[0];
  if (m > 1.4142135623730951) m *= 0.5, exponent++;
  const s = (m - 1) / (m + 1), z = s * s;
  let q = 1 / 23;
  for (let n = 21; n > 1; n -= 2) q = fmaDouble(q, z, 1 / n);
  return fmaDouble(exponent, 0.6931471805599453, 2 * fmaDouble(q * z, s, s));
}

// ------------------------------------------------------------------------ products and softmax

const WIDTH = 16; // columns of a panel, whose rows are adjacent in memory
const LANES = 16; // partial sums of a softmax

/** A matrix (rows, columns) in panels, the last one filled up with zeros. */
class Matrix {
  constructor(rows, columns, values, floats) {
    this.rows = rows;
    this.columns = Math.ceil(columns / WIDTH) * WIDTH;
    this.panels = floats(rows * this.columns);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
      this.panels[(j - j % WIDTH) * rows + i * WIDTH + j % WIDTH] = values[i * columns + j];
    }
  }
}

/** y += x W. Each y is one chain of multiply-adds, so their order is that of the kernels. */
function exactProduct({ rows, columns, panels: W }, x, y) {
  for (let j = 0; j < columns; j += 4) {
    let y0 = y[j], y1 = y[j + 1], y2 = y[j + 2], y3 = y[j + 3];
    let w = (j - j % WIDTH) * rows + j % WIDTH;
    for (let i = 0; i < rows; i++, w += WIDTH) {
      const xi = x[i]; // four times `fma`, which no call slows down
      const p0 = xi * W[w], p1 = xi * W[w + 1], p2 = xi * W[w + 2], p3 = xi * W[w + 3];
      const s0 = p0 + y0, s1 = p1 + y1, s2 = p2 + y2, s3 = p3 + y3;
      const r0 = round(s0 * UP), r1 = round(s1 * UP), r2 = round(s2 * UP), r3 = round(s3 * UP);
      y0 = r0 === round(s0 * DOWN) ? r0 : carefulSum(p0, y0);
      y1 = r1 === round(s1 * DOWN) ? r1 : carefulSum(p1, y1);
      y2 = r2 === round(s2 * DOWN) ? r2 : carefulSum(p2, y2);
      y3 = r3 === round(s3 * DOWN) ? r3 : carefulSum(p3, y3);
    }
    y[j] = y0, y[j + 1] = y1, y[j + 2] = y2, y[j + 3] = y3;
  }
}

function fastProduct({ rows, columns, panels: W }, x, y) {
  for (let j = 0; j < columns; j += 8) {
    let y0 = y[j], y1 = y[j + 1], y2 = y[j + 2], y3 = y[j + 3];
    let y4 = y[j + 4], y5 = y[j + 5], y6 = y[j + 6], y7 = y[j + 7];
    let w = (j - j % WIDTH) * rows + j % WIDTH;
    for (let i = 0; i < rows; i++, w += WIDTH) {
      const xi = x[i];
      y0 += xi * W[w], y1 += xi * W[w + 1], y2 += xi * W[w + 2], y3 += xi * W[w + 3];
      y4 += xi * W[w + 4], y5 += xi * W[w + 5], y6 += xi * W[w + 6], y7 += xi * W[w + 7];
    }
    y[j] = y0, y[j + 1] = y1, y[j + 2] = y2, y[j + 3] = y3;
    y[j + 4] = y4, y[j + 5] = y5, y[j + 6] = y6, y[j + 7] = y7;
  }
}

function largest(x, n) {
  let best = -Infinity;
  for (let i = 0; i < n; i++) if (x[i] > best) best = x[i];
  return best;
}

const total = new Float32Array(8);

/** The sum of LANES float32 in the order of the kernels. */
function sumLanes(x, start) {
  for (let j = 0; j < 8; j++) total[j] = x[start + j] + x[start + j + 8];
  for (let j = 0; j < 4; j++) total[j] += total[j + 4];
  return round(round(total[0] + total[2]) + round(total[1] + total[3]));
}

/** p = softmax(scale * logits), with zeros up to a multiple of LANES; return the log of its mass. */
function exactSoftmax(logits, V, scale, p) {
  const top = largest(logits, V), n = p.length, sums = new Float32Array(LANES);
  let blocks = 0;
  for (let i = 0; i < n; i++) {
    if (i && i % (32 * LANES) === 0 && i + LANES < n) blocks += sumLanes(sums, 0), sums.fill(0);
    p[i] = i < V ? exp(round(round(logits[i] - top) * scale)) : 0;
    sums[i % LANES] += p[i];
  }
  const mass = round(blocks + sumLanes(sums, 0)), norm = round(1 / mass);
  for (let i = 0; i < n; i++) p[i] *= norm;
  return log(mass);
}

function fastSoftmax(logits, V, scale, p) {
  const top = largest(logits, V);
  let mass = 0;
  for (let i = 0; i < V; i++) mass += p[i] = Math.exp((logits[i] - top) * scale);
  for (let i = 0; i < V; i++) p[i] /= mass;
  return Math.log(mass);
}

/** A function of n numbers in an array, whose results go to a place in another one. */
const each = (f) => (x, from, y, to, n) => { for (let j = 0; j < n; j++) y[to + j] = f(x[from + j]); };

const EXACT = {
  fma, log, tanh: each(tanh), sigmoid: each(sigmoid), product: exactProduct, softmax: exactSoftmax,
};
const FAST = {
  fma: (a, b, c) => a * b + c,
  log: Math.log,
  tanh: each((x) => 1 - 2 / (Math.exp(2 * x) + 1)),
  sigmoid: each((x) => 1 / (1 + Math.exp(-x))),
  product: fastProduct,
  softmax: fastSoftmax,
};

/**
 * Room for arrays of float32, and the kernels of charrnn/browser that compute in it: the first of
 * their modules that the engine knows, or none where a page may not compile.
 */
function memory(modules, n) {
  const pages = Math.ceil(n / 2 ** 14);
  for (const hex of modules) {
    try {
      const room = new WebAssembly.Memory({ initial: pages });
      const code = Uint8Array.from(hex.match(/../g), (byte) => parseInt(byte, 16));
      const made = new WebAssembly.Instance(new WebAssembly.Module(code), { "": { "": room } });
      return { buffer: room.buffer, ...made.exports };
    } catch { /* the next one */ }
  }
  return { buffer: new ArrayBuffer(pages * 2 ** 16) };
}

/** Fast and exact arithmetic: with the kernels that there are, in exact mode only fused ones. */
function arithmetic({ product, activate }, scratch) {
  if (!product) return [FAST, EXACT];
  const at = scratch.byteOffset;
  const compiled = {
    product({ rows, columns, panels }, x, y) {
      scratch.set(x);
      product(panels.byteOffset, at, 4 * rows, y.byteOffset, y.byteOffset + 4 * columns);
    },
    tanh(x, from, y, to, n) {
      const start = y.byteOffset + 4 * to;
      activate(x.byteOffset + 4 * from, start, start + 4 * n, 1, 0);
    },
    sigmoid(x, from, y, to, n) {
      const start = y.byteOffset + 4 * to;
      activate(x.byteOffset + 4 * from, start, start + 4 * n, 0.5, 0.5);
    },
  };
  scratch.fill(1 + 2 ** -12).fill(-1 - 2 ** -11, 32, 48);
  product(at + 64, at, 4, at + 128, at + 192);
  const fused = scratch[32] === 2 ** -24;
  return [{ ...FAST, ...compiled }, fused ? { ...EXACT, ...compiled } : EXACT];
}

// --------------------------------------------------------------------------------- cells
// z is a row of sums, one of n units for each gate; before and h are rows of states. Activations go
// to `a`, and may go on to the next multiple of 4 there. What is stored in arrays of float32 is
// rounded. docs/math.md of charrnn has the equations.

const CELLS = {
  rnn: { sums: 1, inputs: 1, recurrent: 0, states: 1, step(op, n, before, h, z, a) {
    op.tanh(z, 0, a, 0, n);
    for (let j = 0; j < n; j++) h[j] = a[j];
  } },
  gru: { sums: 4, inputs: 3, recurrent: 1, states: 1, step(op, n, before, h, z, a) { // n, r, u, q
    op.sigmoid(z, n, a, 0, 2 * n);
    for (let j = 0; j < n; j++) z[j] = op.fma(a[j], z[3 * n + j], z[j]);
    op.tanh(z, 0, a, 2 * n, n);
    for (let j = 0; j < n; j++) {
      const candidate = a[2 * n + j];
      h[j] = op.fma(a[n + j], round(before[j] - candidate), candidate);
    }
  } },
  lstm: { sums: 4, inputs: 4, recurrent: 0, states: 2, step(op, n, before, h, z, a) { // i, f, g, o
    op.sigmoid(z, 0, a, 0, 2 * n);
    op.tanh(z, 2 * n, a, 2 * n, n);
    op.sigmoid(z, 3 * n, a, 3 * n, n);
    for (let j = 0; j < n; j++) {
      z[j] = h[n + j] = op.fma(a[n + j], before[n + j], round(a[j] * a[2 * n + j]));
    }
    op.tanh(z, 0, a, 4 * n, n);
    for (let j = 0; j < n; j++) h[j] = a[3 * n + j] * a[4 * n + j];
  } },
};

// ------------------------------------------------------------------------------- reading a model

// A digit is a printable character; a larger number is a "~" and then four digits.
const DIGITS = Array.from({ length: 94 }, (_, i) => String.fromCharCode(32 + i)).join("")
  .replace(/["\\<]/g, "");

/** The numbers of a string of digits. */
function numbers(text) {
  const found = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "~") {
      found.push(numbers(text.slice(i + 1, i + 5)).reduce((n, digit) => n * DIGITS.length + digit));
      i += 4;
    } else found.push(DIGITS.indexOf(text[i]));
  }
  return found;
}

/** The bytes of a string in base64. */
const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer;

function fromHalf(bits) {
  const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, rest = bits & 1023;
  return sign * (exponent ? (1 + rest / 1024) * 2 ** (exponent - 15) : rest * 2 ** -24);
}

/** The float32 of matrices or biases, as `_encoded` in charrnn/browser wrote them. */
function weights({ kind, columns, values, scales }) {
  if (kind === "float32") return new Float32Array(bytes(values));
  if (kind === "float16") return Float32Array.from(new Uint16Array(bytes(values)), fromHalf);
  return Float32Array.from(numbers(values), (n, i) => (
    (n % 2 ? (-1 - n) / 2 : n / 2) * scales[Math.floor(i / columns) % scales.length]
  ));
}

/**
 * N-gram counts: the estimate that charrnn's network/counts.py describes.
 *
 * Level k has the n-grams of k + 1 symbols, sorted: those that follow n-gram c of the level above
 * are numbers starts[c] to starts[c + 1] - 1.
 */
class Counts {
  constructor({ symbols, followers, counts, missing, discounts, weights }, V) {
    const table = Array.from({ length: 129 }, (_, i) => i); // what a byte stands for
    while (table.length < 256) table.push(Math.floor(table[table.length - 1] * 17 / 16));
    this.V = V;
    this.p = new Float64Array(V);
    [this.networkWeight, this.countsWeight] = weights.map(round);
    [symbols, followers, counts, missing] = [symbols, followers, counts, missing].map(numbers);
    this.levels = [];
    let contexts = 1, place = 0, first = 0;
    while (first < symbols.length) {
      const starts = [0], until = place + contexts;
      for (let i = place; i < until; i++) starts.push(starts[starts.length - 1] + followers[i]);
      const n = starts[contexts];
      this.levels.push(this.estimate(
        starts, symbols.slice(first, first + n),
        counts.slice(first, first + n).map((byte) => table[byte]),
        missing.slice(place, until).map((byte) => table[byte]),
        [0, ...discounts.slice(3 * this.levels.length)],
      ));
      place = until, contexts = n, first += n;
    }
  }

  /** A level: the weights of its n-grams, and what each context leaves to the shorter one. */
  estimate(starts, symbols, counts, missing, discounts) {
    const contexts = starts.length - 1;
    const weights = new Float32Array(symbols.length), backoffs = new Float32Array(contexts).fill(1);
    for (let context = 0; context < contexts; context++) {
      let total = 0, left = 0;
      for (let i = starts[context]; i < starts[context + 1]; i++) {
        total += counts[i], left += discounts[Math.min(counts[i], 3)];
      }
      total += missing[context] ?? 0, left += missing[context] ?? 0;
      for (let i = starts[context]; i < starts[context + 1]; i++) {
        weights[i] = (counts[i] - discounts[Math.min(counts[i], 3)]) / total;
      }
      if (total > 0) backoffs[context] = left / total;
    }
    return { starts: Int32Array.from(starts), symbols: Int32Array.from(symbols), weights, backoffs };
  }

  /** The number of the n-gram of a context and a symbol, -1 if the text has none. */
  follower(k, context, symbol) {
    const { starts, symbols } = this.levels[k];
    if (context < 0) return -1;
    let low = starts[context], high = starts[context + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (symbols[middle] < symbol) low = middle + 1; else high = middle;
    }
    return low < starts[context + 1] && symbols[low] === symbol ? low : -1;
  }

  /** contexts[k] is the number of the n-gram that the last k + 1 symbols are: read one more. */
  advance(contexts, symbol) {
    for (let k = contexts.length - 1; k >= 0; k--) {
      contexts[k] = this.follower(k, k ? contexts[k - 1] : 0, symbol);
    }
  }

  /** Mix the log-probabilities of what follows into the logits. */
  mix(op, contexts, logits) {
    const p = this.p.fill(0);
    let k = 0, share = 1;
    while (k < contexts.length && contexts[k] >= 0) k++;
    for (; k >= 0; k--) {
      const level = this.levels[k], context = k ? contexts[k - 1] : 0;
      for (let i = level.starts[context]; i < level.starts[context + 1]; i++) {
        p[level.symbols[i]] += share * level.weights[i];
      }
      share *= level.backoffs[context];
    }
    for (let v = 0; v < this.V; v++) {
      const ofCounts = round(op.log(p[v] + share / this.V));
      logits[v] = op.fma(this.countsWeight, ofCounts, round(this.networkWeight * logits[v]));
    }
  }
}

// -------------------------------------------------------------------------------- random numbers

const MASK = (1n << 64n) - 1n;

function mix64(z) {
  z = (z ^ (z >> 30n)) * 0xBF58476D1CE4E5B9n & MASK;
  z = (z ^ (z >> 27n)) * 0x94D049BB133111EBn & MASK;
  return z ^ (z >> 31n);
}

/** A function that returns random numbers in [0, 1): those that Python draws for text `number`. */
function random(seed, number) {
  let state = mix64(mix64(BigInt(seed)) + BigInt(number) * 0xD1B54A32D192ED03n & MASK);
  return () => {
    state = state + 0x9E3779B97F4A7C15n & MASK;
    return Number(mix64(state) >> 11n) / 2 ** 53;
  };
}

/** Clear all probabilities but the largest, until they are k or sum to mass; return their sum. */
function keepLargest(p, V, k, mass) {
  let low = 0, high = 0x3F800000, kept, total; // bits of float32, which have the order of numbers
  const count = (least, equal) => {
    kept = total = 0;
    for (let v = 0; v < V; v++) if (p[v] > least || (equal && p[v] === least)) kept++, total += p[v];
  };
  const number = (bits) => (floatBits[0] = bits, floats[0]);
  while (high - low > 1) {
    const middle = low + Math.floor((high - low) / 2);
    count(number(middle), true);
    if (kept >= k || (kept && total >= mass)) low = middle; else high = middle;
  }
  const least = number(low);
  count(least, false);
  for (let v = 0; v < V; v++) {
    if (p[v] === least && kept < k && (total < mass || kept === 0)) kept++, total += p[v];
    else if (p[v] <= least) p[v] = 0;
  }
  return total;
}

// ----------------------------------------------------------------------------------- the model

/**
 * @typedef {object} Options
 * @property {boolean} [exact] whether results have the bits of the Python package (default: false)
 * @property {"error"|"skip"|"surprise"} [onUnknown] what to do about a character that the model
 *   does not know: raise a RangeError, leave it out, or charge it as the least likely character
 */
class CharRNN {
  /** @param {object} data what charrnn's `save_js` wrote */
  constructor(data) {
    this.chars = [...data.chars];
    this.records = data.records;
    this.ofBytes = data.bytes;
    this.shortest = data.shortest;
    this.ids = new Map(this.chars.map((char, id) => [char, id]));
    this.rare = data.rare ? this.ids.get("\ufffd") : -2; // the id that rare characters share
    this.rareNats = data.rareNats;
    for (const char of data.rare ?? "") this.ids.set(char, this.rare);
    const V = this.V = this.chars.length + (data.records ? 1 : 0);
    const floats = this.makeRoom(data);
    this.layers = data.layers.map(({ cell, units, inputs, recurrent, bias }, i) => {
      const { sums, inputs: gates, recurrent: first } = CELLS[cell];
      const [below, values] = [i ? data.layers[i - 1].units : V, weights(inputs)];
      const z = floats(sums * units + WIDTH); // a product writes up to a whole panel
      return {
        ...CELLS[cell], units, bias: weights(bias), rows: values, width: gates * units,
        input: i ? new Matrix(below, gates * units, values, floats) : null,
        matrix: new Matrix(units, (sums - first) * units, weights(recurrent), floats),
        z, gates: z.subarray(first * units), activations: floats(5 * units + 4),
      };
    });
    const last = this.layers[this.layers.length - 1].units;
    this.output = new Matrix(last, V, weights(data.output), floats);
    this.outputBias = weights(data.outputBias);
    this.counts = data.counts ? new Counts(data.counts, V) : null;
    this.ranks = data.ranks ? new Ranks(data.ranks) : null;
    this.logits = floats(this.output.columns);
    this.p = new Float32Array(Math.ceil(V / LANES) * LANES);
  }

  /** Return a function that makes arrays where the arithmetic of the model computes. */
  makeRoom({ layers, kernels }) {
    const most = Math.max(...layers.map(({ units }) => units)), scratch = 2 * most + 3 * WIDTH;
    const room = layers.reduce((sum, { cell, units }) => ( // below, z and activations are shorter
      sum + (most + units + 10) * (CELLS[cell].sums * units + WIDTH)
    ), scratch + (most + 1) * (this.V + WIDTH));
    const kernel = memory(kernels, room);
    let end = 0;
    const floats = (n) => {
      const start = end;
      end += 16 * Math.ceil(n / 4);
      return new Float32Array(kernel.buffer, start, n);
    };
    [this.fast, this.exact] = arithmetic(kernel, floats(scratch));
    return floats;
  }

  /** The state before anything has been read. */
  zero() {
    const order = this.counts ? this.counts.levels.length - 1 : 0;
    return {
      rows: this.layers.map(({ states, units }) => new Float32Array(states * units)),
      next: this.layers.map(({ states, units }) => new Float32Array(states * units)), // scratch
      contexts: new Int32Array(order).fill(-1),
    };
  }

  /** Have a state read a symbol. */
  read(op, state, id) {
    let below = null;
    this.layers.forEach((layer, i) => {
      const { units, bias, rows, width, input, matrix, z, gates, activations } = layer;
      z.set(bias);
      if (input) op.product(input, below, z);
      else for (let j = 0; j < width; j++) z[j] = rows[id * width + j] + bias[j];
      const before = state.rows[i], h = below = state.next[i];
      op.product(matrix, before, gates);
      layer.step(op, units, before, h, z, activations);
      state.rows[i] = h, state.next[i] = before;
    });
    if (this.counts) this.counts.advance(state.contexts, id);
  }

  /** The logits of what follows a state. */
  predict(op, state) {
    const { logits } = this;
    logits.fill(0).set(this.outputBias);
    op.product(this.output, state.rows[state.rows.length - 1], logits);
    if (this.counts) this.counts.mix(op, state.contexts, logits);
    return logits;
  }

  /** The loss of a symbol, in nats. */
  loss(op, logits, id) {
    const mass = op.softmax(logits, this.V, 1, this.p);
    return mass - round(logits[id] - largest(logits, this.V));
  }

  leastLikely(logits) {
    const ofChars = logits.slice(0, this.chars.length);
    if (this.rare >= 0) ofChars[this.rare] -= this.rareNats;
    return ofChars.indexOf(ofChars.reduce((least, other) => Math.min(least, other)));
  }

  /** The ids of a text, -1 for a character that the model does not know. */
  encode(text) {
    if (!this.ofBytes) return Array.from(text, (char) => this.ids.get(char) ?? -1);
    return Array.from(typeof text === "string" ? new TextEncoder().encode(text) : text);
  }

  /** The text of ids; of bytes, what UTF-8 reads in them. */
  decode(ids) {
    if (this.ofBytes) return new TextDecoder().decode(Uint8Array.from(ids));
    return ids.map((id) => this.chars[id]).join("");
  }

  /** The state after a text, less the characters that the model does not know. */
  after(op, text, onUnknown = "error") {
    const state = this.zero();
    if (this.records) this.read(op, state, this.chars.length);
    for (const id of this.known(text, onUnknown)) this.read(op, state, id);
    return state;
  }

  known(text, onUnknown) {
    const ids = this.encode(text), unknown = ids.indexOf(-1);
    if (unknown < 0) return ids;
    if (onUnknown !== "error") return ids.filter((id) => id >= 0);
    const char = Array.from(text)[unknown];
    throw new RangeError(`the model does not know ${JSON.stringify(char)}, character ${unknown}`);
  }

  /**
   * The losses of a text in nats: of each character, and of the end of a record.
   *
   * @param {string|Uint8Array} text
   * @param {Options & {context?: string, end?: boolean}} [options] context: text before the text,
   *   read but not scored; end: whether the end of a record counts (default: true)
   * @returns {{losses: number[], unknown: boolean[]}}
   */
  losses(text, options) {
    const { losses, unknown, more } = this.ofSymbols(text, options);
    return { losses: losses.map((loss, i) => loss + more[i]), unknown };
  }

  /** The losses of symbols, and what rare characters cost more because they share one. */
  ofSymbols(text, { exact, onUnknown = "error", context = "", end = true } = {}) {
    const op = exact ? this.exact : this.fast, state = this.after(op, context, onUnknown);
    if (onUnknown === "error") this.known(text, onUnknown);
    const losses = [], unknown = [], more = [];
    const ids = this.encode(text);
    if (this.records && end) ids.push(this.chars.length);
    for (const id of ids) {
      if (id < 0 && onUnknown === "skip") continue;
      const logits = this.predict(op, state);
      const target = id < 0 ? this.leastLikely(logits) : id;
      losses.push(this.loss(op, logits, target));
      more.push(target === this.rare ? this.rareNats : 0);
      unknown.push(id < 0);
      if (id >= 0) this.read(op, state, id);
    }
    return { losses, unknown, more };
  }

  /**
   * How much a text surprises the model: bits per character, or of the whole text.
   *
   * @param {string|Uint8Array} text
   * @param {Options & {total?: boolean, context?: string, end?: boolean}} [options]
   * @returns {number}
   */
  score(text, options = {}) {
    const { losses, unknown, more } = this.ofSymbols(text, options);
    let sum = 0;
    losses.forEach((loss, i) => { if (!unknown[i]) sum += loss; });
    const rare = more.filter((nats, i) => nats && !unknown[i]).length;
    if (rare) sum += rare * this.rareNats;
    losses.forEach((loss, i) => { if (unknown[i]) sum += loss + more[i]; });
    return (options.total ? sum : sum / losses.length) / Math.LN2;
  }

  /**
   * The probability of each symbol after a text, in the order of `chars`; of records, last of the
   * end.
   *
   * @param {string|Uint8Array} prefix
   * @param {Options} [options]
   * @returns {Float32Array}
   */
  nextProbs(prefix, { exact, onUnknown } = {}) {
    const op = exact ? this.exact : this.fast;
    op.softmax(this.predict(op, this.after(op, prefix, onUnknown)), this.V, 1, this.p);
    return this.p.slice(0, this.V);
  }

  /**
   * How many guesses it takes to reach a string, from the most probable one down, and the bounds
   * of a 95 % interval. Infinite for a string that the model never writes.
   *
   * @param {string|Uint8Array} text
   * @param {Options} [options]
   * @returns {{guesses: number, low: number, high: number}}
   */
  rank(text, { exact } = {}) {
    if (!this.ranks) throw new Error("this file has no table of guess numbers");
    const ids = this.encode(text);
    const never = ids.length < this.shortest || ids.includes(-1) || ids.includes(this.rare);
    if (never) return { guesses: Infinity, low: Infinity, high: Infinity };
    return this.ranks.of(-this.score(text, { exact, total: true }) * Math.LN2);
  }

  /**
   * Yield the characters of a text (numbers, if the model is of bytes).
   *
   * @param {Options & {length?: number, prime?: string, temperature?: number, topK?: number,
   *   topP?: number, allowed?: string, forbidden?: string, stop?: string|string[],
   *   minLength?: number, seed?: number|bigint, number?: number}} [options]
   *   as of `CharRNN.generate` in Python, which writes the same text for the same seed if `exact`;
   *   number: of the text, as in `generate_many`
   */
  *stream({ exact, length = 100, prime = "", minLength = prime.length ? 0 : this.shortest, stop = [],
    seed = Math.floor(Math.random() * 2 ** 53), number = 0, onUnknown, ...controls } = {}) {
    const op = exact ? this.exact : this.fast, end = this.chars.length, next = random(seed, number);
    const state = this.after(op, prime, onUnknown), never = this.excluded(controls);
    const stops = [stop].flat().map((text) => this.encode(text)).sort((a, b) => b.length - a.length);
    if (stops.some((ids) => !ids.length)) throw new RangeError("stop must not have an empty text");
    const ready = (id) => (this.ofBytes ? id : this.chars[id]);
    const held = []; // what may be the beginning of a stop text
    for (let n = 0; n < length;) {
      const logits = this.predict(op, state);
      for (const id of never) logits[id] = -Infinity;
      if (this.records && n < minLength) logits[end] = -Infinity;
      if (this.rare >= 0) logits[this.rare] = -Infinity;
      const id = this.draw(op, logits, controls, next);
      if (id === end) break;
      held.push(id), n++;
      const found = stops.find((ids) => n - ids.length >= minLength
        && ids.every((one, i) => one === held[held.length - ids.length + i]));
      if (found) return yield* held.slice(0, held.length - found.length).map(ready);
      if (held.length >= (stops[0]?.length ?? 1)) yield ready(held.shift());
      this.read(op, state, id);
    }
    yield* held.map(ready);
  }

  /** The ids of the characters that may not be drawn. */
  excluded({ allowed, forbidden }) {
    const set = (text) => text !== undefined && new Set(this.encode(text));
    const [some, none] = [set(allowed), set(forbidden)];
    const ids = [...this.chars.keys()].filter((id) => (some && !some.has(id)) || (none && none.has(id)));
    if (ids.length < this.chars.length) return ids;
    throw new RangeError("allowed and forbidden leave no character of the model");
  }

  /** Draw a symbol. */
  draw(op, logits, { temperature = 1, topK = Infinity, topP = 1 }, next) {
    const { p, V } = this;
    if (temperature === 0) return logits.indexOf(largest(logits, V));
    op.softmax(logits, V, round(Math.min(1e30, 1 / temperature)), p);
    let mass = topK < V ? keepLargest(p, V, topK, 2) : 1;
    if (topP < 1) mass = keepLargest(p, V, V, topP * mass);
    let rest = next() * mass, start = 0, block;
    while (start < p.length && rest >= (block = sumLanes(p, start))) rest -= block, start += LANES;
    for (let v = start; v < Math.min(V, start + LANES); v++) if ((rest -= p[v]) < 0) return v;
    for (let v = V - 1; ; v--) if (p[v] > 0) return v; // rounding left a rest
  }

  /** Write a text: the options are those of `stream`. */
  generate(options) {
    const found = [...this.stream(options)];
    return this.ofBytes ? this.decode(found) : found.join("");
  }
}

/** Guess numbers by log-probability: see `rank_table` in charrnn/browser. */
class Ranks {
  constructor({ top, start, step, logs, spreads, enumerated, exact, samples }) {
    Object.assign(this, { start, step, enumerated, exact, samples });
    this.top = new Float32Array(bytes(top));
    let sum = 0;
    this.logs = numbers(logs).map((more) => (sum += more) / 500);
    this.spreads = numbers(spreads).map((spread) => spread / 500);
  }

  /** The ranks of a string with this log-probability, in nats. */
  of(logP) {
    const before = this.top.findIndex((other) => other <= logP + 4e-6);
    if (before >= 0) return { guesses: before + 1, low: before + 1, high: before + 1 };
    const place = Math.min((this.start - logP) / this.step, this.logs.length - 1);
    const i = Math.max(0, Math.min(Math.floor(place), this.logs.length - 2)), share = place - i;
    const between = (list) => list[i] + (list[i + 1] - list[i]) * share;
    const guesses = Math.exp(between(this.logs));
    if (logP >= this.exact) return { guesses, low: guesses, high: guesses };
    const spread = guesses * between(this.spreads), most = Math.exp(-logP);
    const high = Math.min(guesses + spread + 3 * most / this.samples, Math.max(guesses, most));
    return { guesses, low: Math.max(guesses - spread, Math.min(guesses, this.enumerated)), high };
  }
}

return CharRNN;
})();
