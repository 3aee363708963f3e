"""Philox 4x32-10, and dropout by its bits, against the known answers of Random123 and Python's integers."""

import itertools

import numpy as np
import pytest

from xpnet import nn

# From `kat_vectors` of the Random123 distribution: counter, key and bits, the lowest words first.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
KEY, STEP = 0x299F31D0A4093822, 7


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "bits"), KNOWN)
def test_philox_gives_the_known_answers(xp, counter, key, bits):
    low, high = words(key)
    counter = tuple(xp.asarray([word], dtype=xp.uint32) for word in words(counter))
    found = nn.philox(xp, counter, low | high << 32)
    assert [int(xp.to_host(word)[0]) for word in found] == words(bits)
    assert all(word.dtype == xp.uint32 for word in found)


def exact_bits(n, key, step):
    """Return the bits for `n` elements, computed with Python's integers."""
    found = []
    for block in range(-(-n // 4)):
        a, b, c, d = block, 0, step % 2**32, 0
        low, high = key % 2**32, key >> 32
        for _ in range(10):
            p, q = a * 0xD2511F53, c * 0xCD9E8D57
            a, b, c, d = (q >> 32) ^ b ^ low, q % 2**32, (p >> 32) ^ d ^ high, p % 2**32
            low, high = (low + 0x9E3779B9) % 2**32, (high + 0xBB67AE85) % 2**32
        found += [a, b, c, d]
    return np.array(found[:n], "uint32")


@pytest.mark.parametrize("shape", [(), (1,), (5,), (130,), (7, 3), (3, 1), (2, 3, 5), (33, 64), (0, 4)])
@pytest.mark.parametrize("step", [1, 2**16, 2**32 - 1, 2**32 + 5])
def test_dropout_keeps_what_the_bits_say(xp, shape, step):
    expected = exact_bits(int(np.prod(shape)), KEY, step).reshape(shape) >= 2**30
    y = xp.nn.dropout(xp.ones(shape, dtype=xp.float32), KEY, step, 0.25)
    assert y.dtype == xp.float32
    np.testing.assert_array_equal(xp.to_host(y), np.where(expected, np.float32(1 / 0.75), np.float32(0)))


def kept(xp, key=KEY, step=STEP, rate=0.5, n=10_000):
    return np.asarray(xp.to_host(xp.nn.dropout(xp.ones((n,), dtype=xp.float32), key, step, rate))) != 0


def test_masks_of_other_keys_and_steps_are_independent(xp):
    masks = [kept(xp), kept(xp, key=KEY + 1), kept(xp, key=KEY ^ 1 << 63), kept(xp, step=STEP + 1)]
    for one, other in itertools.combinations(masks, 2):
        assert abs((one == other).mean() - 0.5) < 0.02


@pytest.mark.parametrize("rate", [0.0, 1e-12, 0.1, 0.9, 1 - 1e-12])
def test_dropout_drops_at_its_rate(xp, rate):
    assert kept(xp, rate=rate).mean() == pytest.approx(1 - rate, abs=0.01)


def test_dropped_elements_are_zero_whatever_they_were(xp):
    x = xp.asarray(np.full(1000, np.nan, "float32"))
    y = np.asarray(xp.to_host(xp.nn.dropout(x, KEY, STEP, 0.5)))
    np.testing.assert_array_equal(y == 0, ~kept(xp, n=1000))


@pytest.mark.parametrize(("rows", "features"), [(7, 3), (5, 8), (6, 1), (40, 30)])
def test_parts_of_a_batch_are_dropped_as_the_whole_is(xp, rows, features):
    x = np.random.default_rng(0).normal(size=(rows, features)).astype("float32")
    whole = np.asarray(xp.to_host(xp.nn.dropout(xp.asarray(x), KEY, STEP, 0.5)))
    for begin in range(min(rows, 9)):
        end = begin + (rows - begin + 1) // 2
        part, first = xp.asarray(x[begin:end]), begin * features
        for drop in (xp.nn.dropout, xp.nn.dropout_backward):
            found = np.asarray(xp.to_host(drop(part, KEY, STEP, 0.5, first=first)))
            np.testing.assert_array_equal(found, whole[begin:end])


@pytest.mark.parametrize("first", [2**32 - 3, 2**33 + 6, 2**34 - 20])
def test_elements_of_large_numbers_are_dropped_by_their_own_bits(xp, first):
    x = xp.ones((3, 5), dtype=xp.float32)
    found = np.asarray(xp.to_host(xp.nn.dropout(x, KEY, STEP, 0.5, first=first))).reshape(-1) != 0
    block, before = divmod(first, 4)
    counter = tuple(np.asarray(word, "uint32") for word in (block + np.arange(5), 0, STEP, 0))
    bits = np.stack(nn.philox(np, counter, KEY), axis=1).reshape(-1)[before : before + 15]
    np.testing.assert_array_equal(found, bits >= 2**31)
