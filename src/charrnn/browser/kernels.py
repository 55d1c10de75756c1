"""What takes most of a model's time, its products and nonlinearities, as a WebAssembly module.

A small compiler of `_SOURCE`, which is Python with two kinds of values: addresses in bytes, and
vectors of four float32. Each y of a product is one chain of multiply-adds, as in charrnn's own
kernels, and the nonlinearity is that of kernels/scalar.pxd, operation by operation. So the results
have the bits of Python's where the multiply-adds are fused. The format of the module is in
https://webassembly.github.io/spec/core/binary.
"""

import ast
import struct
from collections.abc import Iterable, Sequence

_SOURCE = """
def product(W: i32, x: i32, size: i32, y: i32, end: i32):
    while y < end:
        y0 = load(y, 0)
        y1 = load(y, 16)
        y2 = load(y, 32)
        y3 = load(y, 48)
        at = x
        last = x + size
        while at < last:
            xi = load_one(at, 0)
            y0 = fma(xi, load(W, 0), y0)
            y1 = fma(xi, load(W, 16), y1)
            y2 = fma(xi, load(W, 32), y2)
            y3 = fma(xi, load(W, 48), y3)
            W = W + 64
            at = at + 4
        store(y, y0, 0)
        store(y, y1, 16)
        store(y, y2, 32)
        store(y, y3, 48)
        y = y + 64

def activate(x: i32, y: i32, end: i32, factor: f32, term: f32):
    f = splat(factor)
    c = splat(term)
    while y < end:
        v = load(x, 0)
        t = min(abs(f * v), 9.25)
        t = t + t
        shifted = fma(t, 1.44269504088896341, 12582912.0)
        n = shifted - 12582912.0
        scale = add_bits(shift(shifted, 23), bits(0x3F800000))
        r = fma(n, -1.42860677e-06, fma(n, -0.693145752, t))
        q = fma(1 / 5040, r, 1 / 720)
        q = fma(q, r, 1 / 120)
        q = fma(q, r, 1 / 24)
        q = fma(q, r, 1 / 6)
        q = fma(q, r, 0.5)
        m = fma(scale, fma(q * r, r, r), scale - 1.0)
        d = m + 2.0
        i = subtract_bits(bits(0x7EF311C0), d)
        d = -d
        e = fma(d, i, 1.0)
        i = fma(fma(e, e, e), i * 1.0019173, i)
        q = m * i
        q = fma(fma(d, q, m), i, q)
        q = either(q, both(v, bits(-0x80000000)))
        store(y, fma(f, q, c), 0)
        x = x + 16
        y = y + 16
"""

_TYPES = {"i32": b"\x7f", "f32": b"\x7d", "v128": b"\x7b"}
_LOOP, _IF, _AGAIN, _END = b"\x03\x40", b"\x04\x40", b"\x0c\1", b"\x0b"
_GET, _SET, _INTEGER, _FLOAT = b"\x20", b"\x21", b"\x41", b"\x43"
_MULTIPLY, _ADD, _FUSED = b"\xfd\xe6\x01", b"\xfd\xe4\x01", b"\xfd\x85\x02"
_SPLAT, _SPLAT_BITS, _NEGATE = b"\xfd\x13", b"\xfd\x11", b"\xfd\xe1\x01"
_OPERATORS = {
    (ast.Add, "i32"): b"\x6a",
    (ast.Lt, "i32"): b"\x49",
    (ast.Add, "v128"): _ADD,
    (ast.Sub, "v128"): b"\xfd\xe5\x01",
    (ast.Mult, "v128"): _MULTIPLY,
}
_MEMORY = {"load": b"\xfd\x00", "load_one": b"\xfd\x09", "store": b"\xfd\x0b"}
_CALLS = {
    "fma": _FUSED,
    "splat": _SPLAT,
    "min": b"\xfd\xe8\x01",
    "abs": b"\xfd\xe0\x01",
    "both": b"\xfd\x4e",
    "either": b"\xfd\x50",
    "shift": b"\xfd\xab\x01",
    "add_bits": b"\xfd\xae\x01",
    "subtract_bits": b"\xfd\xb1\x01",
}


def module(fused: bool) -> bytes:
    """Return the module, which computes in a memory that it gets.

    Its multiply-adds are fused where the processor can do that, or, which more engines know,
    products and sums.
    """
    made = [_Function(tree, fused) for tree in ast.parse(_SOURCE).body]
    types = [b"\x60" + _vector(function.parameters) + _vector([]) for function in made]
    numbers = [_unsigned(number) for number in range(len(made))]
    exports = [
        _name(function.name) + b"\0" + number
        for function, number in zip(made, numbers, strict=True)
    ]
    memory = _name("") + _name("") + b"\2\0\0"
    sections = {1: types, 2: [memory], 3: numbers, 7: exports, 10: [one.code for one in made]}
    return b"\0asm\1\0\0\0" + b"".join(
        bytes([kind]) + _sized(_vector(items)) for kind, items in sections.items()
    )


class _Function:
    """A function of `_SOURCE`, compiled."""

    def __init__(self, tree: ast.stmt, fused: bool) -> None:
        assert isinstance(tree, ast.FunctionDef)
        self.name: str = tree.name
        self.fused: bool = fused
        kinds = {one.arg: ast.unparse(one.annotation or one) for one in tree.args.args}
        self.parameters: list[bytes] = [_TYPES[kind] for kind in kinds.values()]
        self.kinds: dict[str, str] = kinds  # of parameters and variables, by name, in their order
        self.constants: dict[str, bytes] = {}  # code that sets a variable
        body = self.block(tree.body)
        variables = [b"\1" + _TYPES[kind] for kind in list(kinds.values())[len(self.parameters) :]]
        code = _vector(variables) + b"".join(self.constants.values()) + body + _END
        self.code: bytes = _sized(code)

    def block(self, statements: Iterable[ast.stmt]) -> bytes:
        return b"".join(map(self.statement, statements))

    def statement(self, node: ast.stmt) -> bytes:
        match node:
            case ast.Assign([ast.Name(name)], value):
                code, kind = self.value(value)
                return code + _SET + self.place(name, kind)
            case ast.While(test, body):
                condition, inside = self.value(test)[0], self.block(body)
                return _LOOP + condition + _IF + inside + _AGAIN + _END + _END
            case ast.Expr(value):
                return self.value(value)[0]
        raise NotImplementedError(ast.unparse(node))

    def value(self, node: ast.expr) -> tuple[bytes, str]:
        """Return the code of an expression, and its kind."""
        match node:
            case ast.Name(name):
                return _GET + self.place(name, ""), self.kinds[name]
            case ast.Constant(float(number)):
                return self.constant(number), "v128"
            case ast.BinOp(ast.Constant(int(a)), ast.Div(), ast.Constant(int(b))):
                return self.constant(a / b), "v128"
            case ast.Constant(int(number)):
                return _INTEGER + _signed(number), "i32"
            case ast.UnaryOp(ast.USub(), ast.Constant(float(number))):
                return self.constant(-number), "v128"
            case ast.UnaryOp(ast.USub(), vector):
                return self.value(vector)[0] + _NEGATE, "v128"
            case ast.BinOp(left, operation, right) | ast.Compare(left, [operation], [right]):
                code, kind = self.value(left)
                code += self.value(right)[0]
                return code + _OPERATORS[type(operation), kind], kind
            case ast.Call(ast.Name(name), arguments):
                return self.call(name, arguments), "v128"
        raise NotImplementedError(ast.unparse(node))

    def call(self, name: str, arguments: list[ast.expr]) -> bytes:
        if name == "bits":
            return self.constant(int(ast.literal_eval(arguments[0])))
        if name in _MEMORY:
            *arguments, offset = arguments
            place = b"\0" + _unsigned(ast.literal_eval(offset))
            return b"".join(self.value(one)[0] for one in arguments) + _MEMORY[name] + place
        values = [self.value(one)[0] for one in arguments]
        if name == "fma" and not self.fused:
            return values[2] + values[0] + values[1] + _MULTIPLY + _ADD
        return b"".join(values) + _CALLS[name]

    def constant(self, number: float) -> bytes:
        """Return code of four times a number, a float32 or bits, which a variable contains."""
        name = repr(number)
        if name not in self.constants:
            whole = isinstance(number, int)
            code = _INTEGER + _signed(int(number)) if whole else _FLOAT + struct.pack("<f", number)
            to_vector = _SPLAT_BITS if whole else _SPLAT
            self.constants[name] = code + to_vector + _SET + self.place(name, "v128")
        return _GET + self.place(name, "v128")

    def place(self, name: str, kind: str) -> bytes:
        """Return the number of a parameter or variable, which is new if it has none."""
        self.kinds.setdefault(name, kind)
        return _unsigned(list(self.kinds).index(name))


def _unsigned(number: int) -> bytes:
    """Return a number in LEB128."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _unsigned(rest) if rest else bytes([low])


def _signed(number: int) -> bytes:
    """Return a number in signed LEB128."""
    low, rest = number & 127, number >> 7
    ends = rest == (-1 if low & 64 else 0)
    return bytes([low]) if ends else bytes([low | 128]) + _signed(rest)


def _vector(items: Sequence[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _name(name: str) -> bytes:
    return _sized(name.encode())
