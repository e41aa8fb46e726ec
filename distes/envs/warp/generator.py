"""NumPy's random numbers within Warp's kernels: what `numpy.random.default_rng(seed)` draws, on any device.

A seed becomes a state by `SeedSequence` (M. E. O'Neill's seed_seq_fe), the state draws 64 bits by PCG64 (O'Neill 2014,
"PCG: A family of simple fast space-efficient statistically good algorithms for random number generation", XSL-RR with
128 bits of state), and these become uniform numbers, or normal ones by the ziggurat method with 256 layers (Marsaglia
and Tsang 2000, "The ziggurat method for generating random variables"). All numbers are float64.
"""

# mypy: ignore-errors

import math

import numpy as np
import warp as wp

wp.set_module_options({"enable_backward": False})

u32, u64 = wp.uint32, wp.uint64
words, halves_of_state = (wp.types.vector(length=4, dtype=kind) for kind in (u32, u64))

# SeedSequence: the starts and the factors of its two running constants, and the factors by which words are mixed.
POOL_START, POOL_FACTOR = wp.constant(u32(0x43B0D7E5)), wp.constant(u32(0x931E8875))
OUT_START, OUT_FACTOR = wp.constant(u32(0x8B51F9DD)), wp.constant(u32(0x58F38DED))
MIX_LEFT, MIX_RIGHT = wp.constant(u32(0xCA01F9DD)), wp.constant(u32(0x4973F715))
HALF = wp.constant(u32(16))

# PCG64: the factor of its linear congruential generator, 128 bits as two halves.
FACTOR_HIGH, FACTOR_LOW = wp.constant(u64(0x2360ED051FC65DA4)), wp.constant(u64(0x4385DF649FCCF645))
LOW_WORD = wp.constant(u64(0xFFFFFFFF))
ONE, WORD, ROTATION, LONG = (wp.constant(u64(number)) for number in (1, 32, 58, 64))
FRACTION, TINY = wp.constant(u64(11)), wp.constant(wp.float64(2.0**-53))

# The ziggurat: where its tail begins, the index of a layer in the lowest byte, and 52 bits of a place in the layer.
TAIL = 3.6541528853610088
TAIL_BEGINS = wp.constant(wp.float64(TAIL))
LAYER, BYTE, PLACE = wp.constant(u64(0xFF)), wp.constant(u64(8)), wp.constant(u64(0xFFFFFFFFFFFFF))


@wp.struct
class Generator:
    """A state of PCG64: 128 bits, and the odd number of 128 bits that each step adds."""

    high: wp.uint64
    low: wp.uint64
    step_high: wp.uint64
    step_low: wp.uint64


def ziggurat() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the layers under exp(-x^2 / 2): all have the same area, and the lowest holds the tail.

    Returns:
        For each of 256 layers: its width as a factor of the place, the place below which a point is certainly under
        the curve, and the height of the curve at its right end; float64, uint64, float64.
    """
    height = math.exp(-(TAIL**2) / 2)
    area = TAIL * height + math.sqrt(math.pi / 2) * math.erfc(TAIL / math.sqrt(2))
    right = np.zeros(256)  # the right ends; that of the lowest layer, number 0, stands for the whole of it
    right[255] = TAIL
    for layer in range(254, 0, -1):
        above = area / right[layer + 1] + math.exp(-(right[layer + 1] ** 2) / 2)
        right[layer] = math.sqrt(-2 * math.log(above))
    right[0] = area / height
    inner = np.array([TAIL, 0.0, *right[1:255]])  # of the layer above, the right end
    heights = np.exp(-(right**2) / 2)
    heights[0] = 1.0
    return right / 2.0**52, (inner / right * 2.0**52).astype(np.uint64), heights


@wp.func
def scrambled(word: wp.uint32, constant: wp.uint32, factor: wp.uint32) -> wp.uint32:
    """One word under the running constant, which `factor` then multiplies."""
    word = (word ^ constant) * (constant * factor)
    return word ^ (word >> HALF)


@wp.func
def mixed(word: wp.uint32, other: wp.uint32) -> wp.uint32:
    """Mixes one word with another."""
    word = MIX_LEFT * word - MIX_RIGHT * other
    return word ^ (word >> HALF)


@wp.func
def high_product(a: wp.uint64, b: wp.uint64) -> wp.uint64:
    """The upper 64 bits of a product."""
    a_low = a & LOW_WORD
    a_high = a >> WORD
    b_low = b & LOW_WORD
    b_high = b >> WORD
    middle = a_high * b_low + ((a_low * b_low) >> WORD)
    other = a_low * b_high + (middle & LOW_WORD)
    return a_high * b_high + (middle >> WORD) + (other >> WORD)


@wp.func
def stepped(state: Generator) -> Generator:
    """Returns state * factor + step, modulo 2^128."""
    low = state.low * FACTOR_LOW
    high = high_product(state.low, FACTOR_LOW) + state.high * FACTOR_LOW + state.low * FACTOR_HIGH
    made = Generator()
    made.step_high = state.step_high
    made.step_low = state.step_low
    made.low = low + state.step_low
    made.high = high + state.step_high
    if made.low < low:
        made.high = made.high + ONE
    return made


@wp.func
def bits(state: Generator) -> wp.uint64:
    """The 64 bits of a state that has stepped: its halves' difference, rotated by its highest six bits."""
    word = state.high ^ state.low
    turn = state.high >> ROTATION
    return (word >> turn) | (word << ((LONG - turn) & (LONG - ONE)))


@wp.func
def fraction(drawn: wp.uint64) -> wp.float64:
    """64 bits as a number in [0, 1)."""
    return wp.float64(drawn >> FRACTION) * TINY


@wp.func
def seeded(seed: wp.uint64) -> Generator:
    """The state that NumPy's PCG64 has after `SeedSequence(seed)`."""
    pool = words()
    pool[0] = wp.uint32(seed & LOW_WORD)
    pool[1] = wp.uint32(seed >> WORD)
    constant = POOL_START
    for i in range(4):
        pool[i] = scrambled(pool[i], constant, POOL_FACTOR)
        constant = constant * POOL_FACTOR
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = mixed(pool[target], scrambled(pool[source], constant, POOL_FACTOR))
                constant = constant * POOL_FACTOR
    constant = OUT_START
    halves = halves_of_state()
    for i in range(4):
        lower = scrambled(pool[(2 * i) % 4], constant, OUT_FACTOR)
        constant = constant * OUT_FACTOR
        upper = scrambled(pool[(2 * i + 1) % 4], constant, OUT_FACTOR)
        constant = constant * OUT_FACTOR
        halves[i] = wp.uint64(lower) | (wp.uint64(upper) << WORD)
    state = Generator()
    state.step_high = (halves[2] << ONE) | (halves[3] >> (LONG - ONE))
    state.step_low = (halves[3] << ONE) | ONE
    state.low = state.step_low + halves[1]
    state.high = state.step_high + halves[0]
    if state.low < halves[1]:
        state.high = state.high + ONE
    return stepped(state)


@wp.struct
class Draw:
    """A number, and the state of the generator after it."""

    number: wp.float64
    state: Generator


@wp.func
def uniform(state: Generator, low: wp.float64, high: wp.float64) -> Draw:
    """`Generator.uniform(low, high)`."""
    made = Draw()
    made.state = stepped(state)
    made.number = low + (high - low) * fraction(bits(made.state))
    return made


@wp.func
def normal(
    state: Generator, widths: wp.array[wp.float64], sure: wp.array[wp.uint64], heights: wp.array[wp.float64]
) -> Draw:
    """`Generator.standard_normal()`, by the layers that `ziggurat` gives."""
    made = Draw()
    made.state = state
    found = bool(False)  # noqa: UP018, a variable of Warp, where False alone is a constant
    while not found:
        made.state = stepped(made.state)
        drawn = bits(made.state)
        layer = wp.int32(drawn & LAYER)
        negative = ((drawn >> BYTE) & ONE) == ONE
        place = (drawn >> (BYTE + ONE)) & PLACE
        x = wp.float64(place) * widths[layer]
        if negative:
            x = -x
        if place < sure[layer]:
            found = True
        elif layer == 0:
            beyond = wp.float64(0.0)
            height = wp.float64(-1.0)
            while height + height <= beyond * beyond:
                made.state = stepped(made.state)
                beyond = -wp.log(wp.float64(1.0) - fraction(bits(made.state))) / TAIL_BEGINS
                made.state = stepped(made.state)
                height = -wp.log(wp.float64(1.0) - fraction(bits(made.state)))
            x = TAIL_BEGINS + beyond
            if ((place >> BYTE) & ONE) == ONE:
                x = -x
            found = True
        else:
            made.state = stepped(made.state)
            level = (heights[layer - 1] - heights[layer]) * fraction(bits(made.state)) + heights[layer]
            found = level < wp.exp(-wp.float64(0.5) * x * x)
        made.number = x
    return made
