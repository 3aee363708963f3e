import hashlib
import json
import statistics

import numpy as np
import pytest

from xpnet import Dropout, Flatten, RandomFlip, RandomShift, Residual, Sequential, Stream, nn


def digest(x):
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16]


def test_normal_numbers_are_golden():
    assert digest(Stream(138, "init").normal((784, 64))) == "4ee062002b4432e8"


def test_uniform_numbers_are_golden():
    assert digest(Stream(138, "init").uniform((1000,))) == "0dcceb3c26891ea5"


def test_shuffles_are_golden():
    stream = Stream(138, "shuffle")
    assert [digest(stream.permutation(60000)) for _ in range(2)] == ["1b5670094230748f", "b20537dc1c71b54b"]


def mask(key, step):
    return nn.dropout(np, np.ones((128, 64), "float32"), key, step, 0.25) != 0


def test_dropout_masks_are_golden():
    stream = Stream(138, "dropout")
    masks = [stream, stream, stream.at(1), stream.at(2)]
    assert [digest(mask(*s.next_key())) for s in masks] == [
        "e9b1294750855ad6",
        "7320afb19414431f",
        "8716ee0297aedb92",
        "21a1dd47b73b9a6e",
    ]


def test_no_two_masks_of_a_seed_are_the_same():
    found = set()
    for seed in (0, 2**64 - 1):
        stream = Stream(seed, "dropout")
        for s in (stream, stream, stream.at(1), stream.at(2)):
            pairs = s.next_key(), s.next_key()
            assert all(0 <= key < 2**64 for key, _ in pairs)
            found |= {digest(mask(*pair)) for pair in pairs}
    assert len(found) == 16


def test_masks_of_a_step_depend_on_nothing_drawn_before():
    stream, other = Stream(3, "dropout"), Stream(3, "dropout")
    stream.uniform((5,))
    stream.next_key()
    stream.at(7).next_key()
    assert stream.at(7).next_key() == other.at(7).next_key()


def test_only_what_a_step_draws_on_the_host_counts():
    stream = Stream(3, "dropout")
    step = stream.at(1)
    step.next_key()
    assert stream.draws == 0
    np.testing.assert_array_equal(step.uniform((4,)), Stream(3, "dropout").uniform((4,)))
    assert stream.draws == step.draws == 1
    stream.next_key()
    assert stream.draws == 2


def test_streams_differ_by_seed_and_purpose():
    streams = [Stream(1, "init"), Stream(2, "init"), Stream(1, "shuffle"), Stream(1, "dropout")]
    assert len({digest(stream.uniform((4,))) for stream in streams}) == 4


def test_stream_goes_on_where_it_was():
    whole = Stream(3, "init").uniform((10,))
    stream = Stream(3, "init")
    np.testing.assert_array_equal(np.concatenate([stream.uniform((4,)), stream.uniform((6,))]), whole)


def test_permutation_contains_every_number_once():
    order = Stream(0, "shuffle").permutation(1000)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))


def test_normal_numbers_are_the_quantiles_of_uniform_ones():
    exact = statistics.NormalDist()
    uniform, normal = (getattr(Stream(5, "init"), name)((2000,)) for name in ("uniform", "normal"))
    expected = [exact.inv_cdf(p) for p in uniform]
    np.testing.assert_allclose(normal, expected, rtol=2e-15, atol=1e-16)


@pytest.mark.parametrize("p", [2.0**-53, 1e-12, 1e-3, 0.075, 0.5, 0.9251, 1 - 1e-9])
def test_normal_quantile_is_accurate_in_the_tails(p):
    from xpnet.random import _normal_quantile

    expected = statistics.NormalDist().inv_cdf(p)
    assert _normal_quantile(np.array([p]))[0] == pytest.approx(expected, rel=2e-15, abs=1e-16)


def test_uniform_numbers_fill_the_open_interval():
    u = Stream(1, "dropout").uniform((100_000,))
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=r"`seed` must be in \[0, 2\*\*64\), got"):
        Stream(seed, "init")


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_seed_must_be_an_integer(seed):
    with pytest.raises(TypeError, match="`seed` must be an integer, got"):
        Stream(seed, "init")


def test_unknown_purpose_is_refused():
    with pytest.raises(ValueError, match="unknown `purpose` 'noise': choose one of init, shuffle, dropout"):
        Stream(0, "noise")


@pytest.mark.parametrize("drawn", [0, 1, 5])
def test_stream_continues_from_its_state_in_json(drawn):
    stream = Stream(7, "shuffle")
    stream.uniform(drawn)
    other = Stream(7, "shuffle")
    other.restore(json.loads(json.dumps(stream.state())))
    assert other.draws == stream.draws
    assert np.array_equal(other.permutation(100), stream.permutation(100))


def test_state_of_another_stream_is_refused():
    with pytest.raises(ValueError, match="another seed or purpose"):
        Stream(7, "shuffle").restore(Stream(8, "shuffle").state())


def test_stream_of_later_rows_has_the_same_keys_and_numbers():
    stream, other = Stream(3, "dropout"), Stream(3, "dropout")
    later = stream.at(7).from_row(12)
    assert (later.first_row, stream.first_row, stream.at(7).first_row) == (12, 0, 0)
    whole = other.at(7)
    assert [later.next_key() for _ in range(3)] == [whole.next_key() for _ in range(3)]
    assert stream.from_row(5).at(7).first_row == 5
    np.testing.assert_array_equal(later.uniform((4,)), other.uniform((4,)))
    assert stream.state() == other.state()


@pytest.mark.parametrize("first", [-1, 1.5, "2", True, None])
def test_first_row_must_be_a_whole_number(first):
    with pytest.raises(ValueError, match="`first` must be a whole number, 0 or above, got"):
        Stream(3, "dropout").from_row(first)


def test_layers_draw_for_the_rows_of_the_whole_batch(xp):
    rows = np.random.default_rng(0).random((11, 5, 3, 1)).astype("float32") + 1
    model = Sequential(RandomShift(2), RandomFlip(), Residual(Dropout(0.4)), Flatten(), Dropout(0.3))
    stream = Stream(3, "dropout").at(7)
    whole, back = model(xp, {}, xp.asarray(rows), stream=stream)
    expected = xp.to_host(whole), xp.to_host(back(xp.ones_like(whole))[0])
    for first, end in ((0, 3), (3, 4), (4, 11)):
        stream = Stream(3, "dropout").at(7).from_row(first)
        y, back = model(xp, {}, xp.asarray(rows[first:end]), stream=stream)
        found = xp.to_host(y), xp.to_host(back(xp.ones_like(y))[0])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other[first:end])
