# cython: nonecheck=True
"""The codec's predictor and arithmetic coder: a network that learns bit by bit, in integers.

Each bit is predicted from several contexts: the last bytes, words, lines, and where they came
before. A context has a history of the bits seen in it, a byte that says about how many zeros and
ones came and which were last; maps learn what follows each history. Seven sets of neurons, each
chosen by a small context of its own, add up these predictions in the logistic domain with weights
that learn from every bit, and one more neuron adds up theirs. At last, tables by context correct
what remains. Nothing is divided or rounded in floating point, so that all machines agree.

Probabilities have 16 bits. In the logistic domain, 256 is 1. A byte's first and last four bits each
look up a bucket per context: a check and the 15 histories at the nodes of four binary decisions.
"""

from .codec_tables import histories, squashed, stretched

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define CHARRNN_PREFETCH(place) __builtin_prefetch(place)
    #else
    #define CHARRNN_PREFETCH(place) (void)(place)
    #endif
    """
    void prefetch "CHARRNN_PREFETCH" (const void* place) noexcept nogil

cdef enum:
    CONTEXTS = 20
    ORDERS = 7                       # of them are the last 1 to 6 and 8 bytes
    DIRECT = 3                       # contexts of 0, 1 and 2 bytes that have probabilities at once
    MATCHES = 2
    INPUTS = 2 * CONTEXTS + DIRECT + MATCHES + 2    # a model's prediction and a constant
    SETS = 7
    FINALS = 4
    STEPS = 33                       # entries of a final table, one for each half in the logistic
    WINDOW = 1 << 22                 # bytes to look for a match in
    PLACES = 1 << 20                 # places to remember for each length of match
    LIMIT = 2047                     # of the logistic domain
    HALF = 1 << 31                   # a probability of 32 bits
    FIRST_RATE = 100                 # of learning, which falls to RATE over some thousand bytes
    RATE = 20

cdef struct Match:
    uint32_t place                   # of the byte that came next the last time
    uint32_t length                  # of what equals; 0: nothing
    uint32_t* places                 # by hash
    uint32_t chances[128]            # by length and expected bit
    uint32_t* chance                 # in use, NULL if nothing is expected

cdef struct Predictor:
    char* memory                     # of all that follows a pointer
    uint8_t* buckets                 # (CONTEXTS, last_bucket + 1, 16)
    uint32_t last_bucket             # 2**bits - 1
    uint8_t* bucket[CONTEXTS]
    uint8_t* history[CONTEXTS]
    uint32_t hashes[CONTEXTS]
    uint32_t chances[CONTEXTS][256]  # by history
    uint32_t* direct[DIRECT]
    uint32_t* directed[DIRECT]
    Match matches[MATCHES]
    int32_t x[INPUTS]
    int32_t* weights[SETS]
    int32_t* chosen[SETS]
    int32_t y[SETS]
    int32_t last_weights[256][SETS]
    int mixed                        # the last neuron's probability
    uint16_t* finals[FINALS]         # differences from the identity, modulo 65536
    uint16_t* final[FINALS]
    int corner[FINALS]
    uint8_t* window
    uint32_t n                       # bytes so far, modulo 2**32
    uint32_t age                     # the same, up to 2**20
    uint64_t recent                  # bytes
    uint32_t partial                 # 1, then the bits of the byte so far
    int bit
    uint32_t words[3]                # hashes: the word so far, and the two before
    uint32_t line, line_before       # where they begin
    uint32_t first, blanks           # the first two bytes and the number of blanks of the line
    int64_t counts[512]              # a binary tree of a model's counts of bytes
    int guided                       # whether there are counts

cdef uint8_t NEXT[256][2]
cdef uint8_t TOTAL[256]
cdef uint32_t CHANCE[256]
cdef uint16_t SQUASHED[2 * LIMIT + 2]
cdef int16_t STRETCHED[4096]
cdef int32_t INVERSE[1024]
cdef int CHOICES[SETS]
CHOICES[:] = [128, 256, 2048, 256, 256, 64, 257]

for _i, (_nexts, _total, _chance) in enumerate(histories()):
    NEXT[_i][0], NEXT[_i][1] = _nexts
    TOTAL[_i], CHANCE[_i] = _total, _chance
for _i, _squashed in enumerate(squashed(LIMIT)):
    SQUASHED[_i] = _squashed
for _i, _stretched in enumerate(stretched(LIMIT)):
    STRETCHED[_i] = _stretched
for _i in range(1024):
    INVERSE[_i] = 131072 // (2 * _i + 3)


# ----------------------------------------------------------------------------------------- helpers

cdef inline uint32_t mix(uint32_t a, uint32_t b) noexcept nogil:
    """Return a hash of both."""
    cdef uint64_t h = a * <uint64_t>0x9E3779B97F4A7C15 ^ (<uint64_t>b + 1) * <uint64_t>0xC2B2AE3D27D4EB4F
    h ^= h >> 29
    h *= <uint64_t>0xBF58476D1CE4E5B9
    return <uint32_t>(h >> 32)


cdef inline int limited(int64_t x) noexcept nogil:
    return LIMIT if x > LIMIT else -LIMIT if x < -LIMIT else <int>x


cdef inline int stretch(uint32_t chance) noexcept nogil:
    """Return a chance in the logistic domain. Memory begins as zeros, which mean one half."""
    return STRETCHED[(chance ^ <uint32_t>HALF) >> 20]


cdef inline void learn(uint32_t* chance, int bit, uint32_t most) noexcept nogil:
    """Move a chance, of 22 bits and a count of 10, toward a bit: the mean of about most bits."""
    cdef uint32_t n = chance[0] & 1023
    cdef int64_t p = (chance[0] ^ <uint32_t>HALF) >> 10
    p += ((((<int64_t>bit << 22) - bit) - p) * INVERSE[n]) >> 16
    chance[0] = (<uint32_t>p << 10 ^ <uint32_t>HALF) | (n + 1 if n < most else n)


cdef inline uint8_t* bucket_of(Predictor* my, int i, uint32_t h) noexcept nogil:
    return my.buckets + 16 * (i * (<size_t>my.last_bucket + 1) + (h >> 8 & my.last_bucket))


cdef uint8_t* find(uint8_t* first, uint32_t h) noexcept nogil:
    """Return the bucket of a hash: the first one, or another of the same 64 bytes.

    If none has the check of the hash, it is the least used, emptied.
    """
    cdef uint8_t check = <uint8_t>h
    cdef uint8_t* bucket
    cdef uint8_t* least = NULL
    cdef int i
    for i in range(3):
        bucket = <uint8_t*>(<size_t>first ^ 16 * i)
        if bucket[1] == 0 or bucket[0] == check:
            bucket[0] = check
            return bucket
        if least == NULL or TOTAL[bucket[1]] < TOTAL[least[1]]:
            least = bucket
    for i in range(1, 16):
        least[i] = 0
    least[0] = check
    return least


# -------------------------------------------------------------------------------------- prediction

cdef void set_hashes(Predictor* my) noexcept nogil:
    """Hash the contexts of the byte to come."""
    cdef uint64_t c = my.recent
    cdef uint32_t four = <uint32_t>c, before = <uint32_t>(c >> 32)
    cdef uint32_t column = my.n - my.line, i
    cdef uint32_t place_above = my.line_before + column
    cdef uint32_t above = my.window[place_above % WINDOW] if place_above < my.line else 0
    cdef uint32_t* h = my.hashes
    h[0] = four & 0xff
    h[1] = four & 0xffff
    h[2] = four & 0xffffff
    h[3] = four
    h[4] = mix(four, before & 0xff)
    h[5] = mix(four, before & 0xffff)
    h[6] = mix(four, before)
    h[7] = mix(my.words[0], four & 0xff)
    h[8] = mix(my.words[0], my.words[1])
    h[9] = mix(my.words[0], mix(my.words[1], my.words[2]))
    h[10] = mix(my.words[0], my.words[2] + 77)
    h[11] = mix(my.words[1], four & 0xffff)
    h[12] = four >> 8 & 0xffff
    h[13] = four >> 8
    h[14] = four & 0xff | four >> 8 & 0xff00
    h[15] = mix(above, four & 0xff)
    h[16] = mix(min(column, <uint32_t>255), my.first)
    h[17] = mix(my.blanks, my.words[0])
    h[18] = mix(four >> 8, four & 0xe0)
    h[19] = mix(four, before & 0xffffff)
    for i in range(CONTEXTS):
        h[i] = mix(h[i], i)
        prefetch(bucket_of(my, i, h[i]))


cdef int expected(Predictor* my) noexcept nogil:
    """Return 1 + the byte that the longer match expects, 0 if there is none."""
    cdef int i
    for i in range(MATCHES - 1, -1, -1):
        if my.matches[i].chance != NULL:
            return 1 + my.window[my.matches[i].place % WINDOW]
    return 0


cdef int set_histories(Predictor* my) noexcept nogil:
    """Set the inputs of the contexts; return how many of the last bytes have been seen before."""
    cdef uint32_t node = my.partial, h
    cdef int i, p, seen = 0
    if my.bit >= 4:
        node = 1 << (my.bit - 4) | my.partial & ((1 << (my.bit - 4)) - 1)
    for i in range(CONTEXTS):
        if my.bit % 4 == 0:
            h = mix(my.hashes[i], my.partial + 977 * i) if my.bit else my.hashes[i]
            my.bucket[i] = find(bucket_of(my, i, h), h)
        my.history[i] = my.bucket[i] + node
        my.x[2 * i] = my.x[2 * i + 1] = 0
        if my.history[i][0]:
            p = (my.chances[i][my.history[i][0]] ^ <uint32_t>HALF) >> 16
            my.x[2 * i] = STRETCHED[p >> 4]
            my.x[2 * i + 1] = (p - 32768) >> 5
            seen += i < ORDERS
    return seen


cdef void set_matches(Predictor* my, int32_t* x) noexcept nogil:
    """Set the inputs of the matches: how probable the expected bit is after so many bytes."""
    cdef Match* match
    cdef uint32_t byte, step
    cdef int i
    for i in range(MATCHES):
        match = &my.matches[i]
        match.chance = NULL
        x[i] = 0
        byte = my.window[match.place % WINDOW]
        if match.length and (byte | 256) >> (8 - my.bit) == my.partial:
            step = match.length if match.length < 32 else 32 + (match.length - 32) // 16
            match.chance = match.chances + 2 * min(step, <uint32_t>63) + (byte >> (7 - my.bit) & 1)
            x[i] = stretch(match.chance[0])


cdef void set_inputs(Predictor* my) noexcept nogil:
    """Set all inputs, and choose the neurons of each set."""
    cdef int seen = set_histories(my), i, byte
    cdef int32_t* x = my.x + 2 * CONTEXTS
    cdef uint32_t length = 0
    cdef uint32_t chosen[SETS]
    my.directed[0] = my.direct[0] + my.partial
    my.directed[1] = my.direct[1] + ((my.recent & 0xff) << 8 | my.partial)
    my.directed[2] = my.direct[2] + ((my.recent & 0x3fff) << 8 | my.partial)
    for i in range(DIRECT):
        x[i] = stretch(my.directed[i][0])
    set_matches(my, x + DIRECT)
    x[DIRECT + MATCHES] = 0
    if my.guided:
        x[DIRECT + MATCHES] = STRETCHED[(my.counts[2 * my.partial + 1] << 12) // my.counts[my.partial]]
    x[DIRECT + MATCHES + 1] = 256
    byte = expected(my)
    if byte:
        length = my.matches[1 if my.matches[1].chance != NULL else 0].length
        if length >= 8:
            length = min(8 + (length - 8) // 8 if length < 40 else 12 + (length - 40) // 32, <uint32_t>15)
    chosen[0] = length * 8 + seen
    chosen[1] = my.partial
    chosen[2] = (my.recent & 0xff) * 8 + my.bit
    chosen[3] = my.recent >> 8 & 0xff
    chosen[4] = min(my.n - my.line, <uint32_t>31) * 8 + my.bit
    chosen[5] = seen * 8 + my.bit
    chosen[6] = byte
    for i in range(SETS):
        my.chosen[i] = my.weights[i] + chosen[i] * INPUTS


cdef int predict(Predictor* my) noexcept nogil:
    """Return the probability that the next bit is 1, from 16 to 65520 of 65536."""
    cdef int64_t total
    cdef int i, j, y, p, step, part, sum = 0
    cdef uint32_t places[FINALS]
    set_inputs(my)
    for i in range(SETS):
        total = 0
        for j in range(INPUTS):
            total += <int64_t>my.chosen[i][j] * my.x[j]
        my.y[i] = limited(total >> 16)
    total = 0
    for i in range(SETS):
        total += <int64_t>my.last_weights[my.partial][i] * my.y[i]
    y = limited(total >> 16)
    my.mixed = SQUASHED[LIMIT + y]
    places[0] = (my.recent & 0xff) << 8 | my.partial
    places[1] = mix(my.recent & 0xffff, my.partial)
    places[2] = mix(my.recent & 0xffffff, my.partial)
    places[3] = expected(my) << 8 | my.partial
    step, part = (y + 2048) >> 7, (y + 2048) & 127
    for i in range(FINALS):
        my.final[i] = my.finals[i] + places[i] % 65536 * STEPS + step
        sum += <uint16_t>(my.final[i][0] + identity(step)) * (128 - part)
        sum += <uint16_t>(my.final[i][1] + identity(step + 1)) * part
        my.corner[i] = step + (part >= 64)
        my.final[i] += part >= 64
    p = (2 * my.mixed + 3 * (sum >> 8)) >> 3
    return min(max(p, 16), 65520)


cdef inline int identity(int step) noexcept nogil:
    return SQUASHED[LIMIT + limited(128 * step - 2048)]


# ---------------------------------------------------------------------------------------- learning

cdef void update(Predictor* my, int bit) noexcept nogil:
    """Learn a bit."""
    cdef int64_t error = (bit << 16) - my.mixed
    cdef int i, j
    for i in range(SETS):
        my.last_weights[my.partial][i] += <int32_t>((my.y[i] * error + 0x10000) >> 17)
    for i in range(SETS):
        error = (bit << 16) - <int>SQUASHED[LIMIT + my.y[i]]
        error = error * (RATE + 3000 * FIRST_RATE // (my.age + 3000)) >> 8
        for j in range(INPUTS):
            my.chosen[i][j] += <int32_t>((my.x[j] * error + 0x2000) >> 14)
    for i in range(FINALS):
        j = <uint16_t>(my.final[i][0] + identity(my.corner[i]))
        j += ((bit << 16) - bit - j) >> 5
        my.final[i][0] = <uint16_t>(j - identity(my.corner[i]))
    for i in range(CONTEXTS):
        learn(&my.chances[i][my.history[i][0]], bit, 1023)
        my.history[i][0] = NEXT[my.history[i][0]][bit]
    for i in range(DIRECT):
        learn(my.directed[i], bit, 255)
    for i in range(MATCHES):
        if my.matches[i].chance != NULL:
            learn(my.matches[i].chance, bit, 1023)
            if (my.matches[i].chance - my.matches[i].chances) % 2 != bit:
                my.matches[i].length = 0
    my.partial = my.partial << 1 | bit
    my.bit += 1
    if my.bit == 8:
        end_byte(my)


cdef void end_byte(Predictor* my) noexcept nogil:
    """Add the byte to what has been read."""
    cdef uint32_t byte = my.partial & 0xff
    cdef uint32_t lower = byte + 32 if 65 <= byte <= 90 else byte
    my.window[my.n % WINDOW] = <uint8_t>byte
    my.n += 1
    my.age += my.age < 1 << 20
    my.recent = my.recent << 8 | byte
    my.partial = 1
    my.bit = 0
    if 97 <= lower <= 122 or byte >= 128 or byte == 39:
        my.words[0] = mix(my.words[0], lower)
    elif my.words[0]:
        my.words[2] = my.words[1]
        my.words[1] = my.words[0]
        my.words[0] = 0
    if byte == 10:
        my.line_before = my.line
        my.line = my.n
        my.first = my.blanks = 0
    elif my.n - my.line <= 2:
        my.first = my.first << 8 | byte
    my.blanks += byte == 32
    find_match(my, &my.matches[0], 5, mix(<uint32_t>my.recent, my.recent >> 32 & 0xff))
    find_match(my, &my.matches[1], 7, mix(<uint32_t>my.recent, my.recent >> 32 & 0xffffff))
    set_hashes(my)


cdef void find_match(Predictor* my, Match* match, uint32_t least, uint32_t h) noexcept nogil:
    """Follow a match, or look for one of at least so many bytes, whose hash is h."""
    h %= PLACES
    match.place += 1
    if match.length:
        match.length += match.length < 65535
    elif match.places[h]:
        match.place = match.places[h]
        while (match.length < min(my.n, <uint32_t>400)
                and my.window[(match.place - 1 - match.length) % WINDOW]
                == my.window[(my.n - 1 - match.length) % WINDOW]):
            match.length += 1
        if match.length < least:
            match.length = 0
    match.places[h] = my.n


# --------------------------------------------------------------------------------------- the codec

cdef class Codec:
    """Codes bytes or decodes them, piece after piece. It checks nothing: `codec` does."""

    cdef Predictor* my
    cdef uint32_t low, high, value
    cdef bytes payload               # what is decoded
    cdef Py_ssize_t at

    def __cinit__(self, int bits):
        """Make room for 2**bits buckets of each context."""
        cdef int i, j
        self.my = my = <Predictor*>allocate(sizeof(Predictor))
        my.last_bucket = (1 << bits) - 1
        # One block of zeros, so large that the system gives its pages one by one when they are used.
        my.memory = <char*>allocate(lay_out(my, NULL))
        lay_out(my, my.memory)
        for i in range(SETS):
            for j in range(CHOICES[i] * INPUTS):
                my.weights[i][j] = first_weight(j % INPUTS)
        for i in range(256):
            for j in range(SETS):
                my.last_weights[i][j] = 65536 // SETS
            for j in range(CONTEXTS):
                my.chances[j][i] = (CHANCE[i] & ~<uint32_t>1023) ^ <uint32_t>HALF
        for i in range(MATCHES):
            for j in range(128):
                my.matches[i].chances[j] = ((1 << 30) + (j // 2 << 23)) * (1 if j % 2 else -1)
        my.partial = 1
        set_hashes(my)
        self.start(b"")

    def __dealloc__(self):
        if self.my != NULL:
            free(self.my.memory)
        free(self.my)

    def guide(self, counts):
        """Tell what a model expects of the next byte: 256 counts, at least 1 each; None: nothing."""
        cdef int i
        self.my.guided = counts is not None
        if counts is None:
            return
        for i in range(256):
            self.my.counts[256 + i] = counts[i]
        for i in range(255, 0, -1):
            self.my.counts[i] = self.my.counts[2 * i] + self.my.counts[2 * i + 1]

    def encode(self, bytes data not None):
        """Code bytes; return what is ready of the code."""
        cdef Py_ssize_t n = len(data), length = 0
        cdef const uint8_t* bytes_ = data
        # A bit has a probability of at least 2**-12: 12 bits, and what the coder holds.
        cdef uint8_t* out = <uint8_t*>allocate(12 * n + 8)
        try:
            with nogil:
                length = self._encode(bytes_, n, out)
            return out[:length]
        finally:
            free(out)

    cdef Py_ssize_t _encode(self, const uint8_t* data, Py_ssize_t n, uint8_t* out) noexcept nogil:
        cdef Py_ssize_t i, length = 0
        cdef int j
        for i in range(n):
            for j in range(7, -1, -1):
                self._narrow(predict(self.my), data[i] >> j & 1)
                while (self.low ^ self.high) >> 24 == 0:
                    out[length] = self.high >> 24
                    length += 1
                    self._shift()
        return length

    cdef void _narrow(self, int p, int bit) noexcept nogil:
        """Narrow the interval to the part of a bit: 1 has the lower part, p of 65536."""
        cdef uint32_t middle = self.low + <uint32_t>(<uint64_t>(self.high - self.low) * p >> 16)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        update(self.my, bit)

    cdef void _shift(self) noexcept nogil:
        self.low = self.low << 8
        self.high = self.high << 8 | 255

    def finish(self):
        """Return the end of the code: the shortest that is inside with zeros after it."""
        cdef object low = self.low, high = self.high, code, unit    # of Python: beyond 32 bits
        for n in range(5):
            unit = 256 ** (4 - n)
            code = (low + unit - 1) // unit * unit
            if code <= high:
                break
        self.start(b"")
        return code.to_bytes(4, "big")[:n]

    def start(self, bytes payload not None):
        """Begin to encode, or to decode a payload."""
        self.payload, self.at, self.low, self.high = payload, 4, 0, <uint32_t>-1
        self.value = int.from_bytes(payload[:4].ljust(4, b"\0"), "big")

    def decode(self, Py_ssize_t n):
        """Return the next n bytes."""
        cdef uint8_t* out = <uint8_t*>allocate(n)
        cdef const uint8_t* payload = self.payload
        cdef Py_ssize_t length = len(self.payload)
        try:
            with nogil:
                self._decode(out, n, payload, length)
            return out[:n]
        finally:
            free(out)

    cdef void _decode(
        self, uint8_t* out, Py_ssize_t n, const uint8_t* payload, Py_ssize_t length
    ) noexcept nogil:
        cdef Py_ssize_t i
        cdef uint32_t middle
        cdef int p, _
        for i in range(n):
            for _ in range(8):
                p = predict(self.my)
                middle = self.low + <uint32_t>(<uint64_t>(self.high - self.low) * p >> 16)
                self._narrow(p, self.value <= middle)
                while (self.low ^ self.high) >> 24 == 0:
                    self.value = self.value << 8 | (payload[self.at] if self.at < length else 0)
                    self.at = self.at + 1
                    self._shift()
            out[i] = <uint8_t>self.my.recent


cdef void* allocate(size_t size) except NULL:
    """Return zeros."""
    cdef void* memory = calloc(size if size else 1, 1)
    if memory == NULL:
        raise MemoryError
    return memory


cdef size_t lay_out(Predictor* my, char* memory) noexcept nogil:
    """Say where each array is in memory; return how many bytes they take."""
    cdef size_t at = 0
    cdef int i
    for i in range(SETS):
        my.weights[i] = <int32_t*>(memory + at)
        at += 4 * CHOICES[i] * INPUTS
    for i in range(MATCHES):
        my.matches[i].places = <uint32_t*>(memory + at)
        at += 4 * PLACES
    for i in range(DIRECT):
        my.direct[i] = <uint32_t*>(memory + at)
        at += 4 << (22 if i == 2 else 8 + 8 * i)
    for i in range(FINALS):
        my.finals[i] = <uint16_t*>(memory + at)
        at += 2 * 65536 * STEPS
    my.window = <uint8_t*>(memory + at)
    at += WINDOW
    my.buckets = <uint8_t*>((<size_t>(memory + at) + 63) & ~<size_t>63)
    return at + 63 + 16 * CONTEXTS * (<size_t>my.last_bucket + 1)


cdef int first_weight(int i) noexcept nogil:
    """Return the weight of input i at first: 1 for a model's."""
    if i == 2 * CONTEXTS + DIRECT + MATCHES:
        return 65536
    return 9830 if i < 2 * CONTEXTS and i % 2 == 0 else 0
