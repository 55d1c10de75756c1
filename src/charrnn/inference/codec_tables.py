"""The tables of the codec's predictor, in integers of any size: the same on every machine."""

# Of one kind of bits, so many are counted beside 0, 1, 2 ... of the other kind.
_MOST = 36, 24, 11, 8, 6, 5


def _after(history: tuple[int, int, str], bit: int) -> tuple[int, int, str]:
    """Return the history after one more bit: how many zeros and ones, and the last bits.

    Each bit halves the count of the opposite bit above two, so that the recent past counts more.
    """
    counts, last = [*history[:2]], history[2] + str(bit)
    other = 1 - bit
    counts[bit] += 1
    if counts[other] > 2:
        counts[other] = 2 + (counts[other] - 2) // 2
    if sum(counts) > 4:
        last = str(bit)
    counts[bit] = min(counts[bit], _MOST[min(counts[other], 5)])
    return counts[0], counts[1], last


def histories() -> list[tuple[list[int], int, int]]:
    """Return of each history those after a 0 and a 1, its bits, and a first guess.

    A guess is the chance of a 1, of 2**32. Histories, fewer than 256, are numbered in the order in
    which they can be reached.
    """
    found = [(0, 0, "")]
    table = []
    for history in found:
        nexts = [_after(history, bit) for bit in range(2)]
        found += [one for one in nexts if one not in found]
        zeros, ones, _ = history
        chance = ((5 * ones + 2) << 32) // (5 * (zeros + ones) + 4)
        table.append(([found.index(one) for one in nexts], zeros + ones, chance))
    return table


def squashed(limit: int) -> list[int]:
    """Return 65536 / (1 + exp(-x / 256)) for x from -limit to limit."""
    one = 1 << 96
    term = step = one
    for i in range(1, 20):  # exp(1 / 256)
        term = term // (256 * i)
        step += term
    power, upper = one, []
    for _ in range(limit + 1):
        upper.append(min(65536 * power // (one + power), 65535))
        power = power * step // one
    return [65536 - p for p in upper[:0:-1]] + upper


def stretched(limit: int) -> list[int]:
    """Return the inverse: x for each p in steps of 16."""
    table, x = squashed(limit), 0
    found = []
    for p in range(8, 65536, 16):
        while x < 2 * limit and table[x] < p:
            x += 1
        found.append(x - limit)
    return found
