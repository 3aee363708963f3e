import gzip
import hashlib
import math
import mmap
import pathlib
import re
import struct
import tracemalloc
import zlib

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpnet.datasets.idx import TYPES, WHOLE_TYPES, read_idx

STATM = pathlib.Path("/proc/self/statm")
MEBIBYTE = 1 << 20
# Covers the reader's chunks and gzip's buffers; far below any size that the bombs announce or unpack to.
MOST_MEMORY = 8 * MEBIBYTE


def header(*shape, kind=0x08):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape)


def idx_bytes(array):
    return header(*array.shape) + array.tobytes()


def forge_trailer(gzipped, unpacked_size):
    """Return a gzip file that claims to unpack to `unpacked_size` bytes."""
    return gzipped[:-4] + struct.pack("<I", unpacked_size % 2**32)


def gzipped_zeros(prefix, mebibytes):
    packer = zlib.compressobj(1, wbits=31)
    zeros = bytes(MEBIBYTE)
    parts = [packer.compress(prefix)]
    parts += [packer.compress(zeros) for _ in range(mebibytes)]
    return b"".join([*parts, packer.flush()])


def resident_pages():
    return int(STATM.read_text().split()[1])


def peak_memory_of_refusal(path, match):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match):
            read_idx(path, ndim=3)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def array():
    return numpy.arange(24, dtype=numpy.uint8).reshape(2, 3, 4)


@pytest.fixture
def write(tmp_path):
    def write(content, name="some-idx3-ubyte"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_content_and_not_the_name_decides_about_gzip(write, array, pack, name):
    read = read_idx(write(pack(idx_bytes(array)), name), ndim=3)
    assert read.dtype == numpy.uint8
    assert read.shape == (2, 3, 4)
    assert read.tolist() == array.tolist()
    assert not read.flags.writeable


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_payload_of_several_chunks_is_whole(write, pack):
    array = numpy.random.default_rng(0).integers(0, 256, 3 * MEBIBYTE + 5).astype(numpy.uint8)
    assert numpy.array_equal(read_idx(write(pack(idx_bytes(array))), ndim=1), array)


def test_path_may_be_a_string(write, array):
    assert read_idx(str(write(idx_bytes(array))), ndim=3).shape == (2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_right_sha256_is_of_the_unpacked_file(write, array, pack):
    digest = hashlib.sha256(idx_bytes(array)).hexdigest()
    assert read_idx(write(pack(idx_bytes(array))), ndim=3, sha256=digest).shape == (2, 3, 4)


def test_wrong_sha256_names_both(write, array):
    digest = hashlib.sha256(idx_bytes(array)).hexdigest()
    with pytest.raises(ValueError, match=f"is damaged: .* {digest}, expected {'0' * 64}; "):
        read_idx(write(idx_bytes(array)), ndim=3, sha256="0" * 64)


def test_remedy_replaces_the_advice(write, array):
    with pytest.raises(ValueError, match=r"are missing; reinstall it$"):
        read_idx(write(idx_bytes(array)[:-1]), ndim=3, remedy="reinstall it")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file '.*gone'; correct the path$"):
        read_idx(tmp_path / "gone", ndim=3)


def test_errors_name_the_path_on_one_line(write, array):
    path = write(idx_bytes(array)[:-1])
    with pytest.raises(ValueError, match=r"^IDX file ") as caught:
        read_idx(path, ndim=3)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_truncated_file_names_the_missing_bytes(write, array):
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\), 40 bytes .* has 35, so 5 are missing"):
        read_idx(write(idx_bytes(array)[:-5]), ndim=3)


def test_surplus_bytes_are_counted(write, array):
    with pytest.raises(ValueError, match=r"40 bytes in all, but has 43, 3 too many"):
        read_idx(write(idx_bytes(array) + b"abc"), ndim=3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("length", [4, 15])
def test_truncated_header_is_refused(write, array, length, pack):
    content = pack(idx_bytes(array)[:length])
    with pytest.raises(ValueError, match=f"header takes 16 bytes, but only {length} are present"):
        read_idx(write(content), ndim=3)


@pytest.mark.parametrize("content", [b"", b"\0", b"<html>404</html>", b"\0\0\x07\x03" + bytes(12)])
def test_wrong_magic_number_is_shown(write, content):
    found = content[:4].hex(" ") or "nothing"
    expected = f"begins with {found}, expected the IDX magic number 00 00 08 03; "
    with pytest.raises(ValueError, match=expected):
        read_idx(write(content), ndim=3)


def test_wrong_number_of_dimensions_suggests_swapped_files(write):
    content = idx_bytes(numpy.zeros(9, dtype=numpy.uint8))
    expected = "00 00 08 01, with 1 for .*, expected 00 00 08 03; .* swapped"
    with pytest.raises(ValueError, match=expected):
        read_idx(write(content), ndim=3)


@pytest.mark.parametrize(
    ("shape", "ndim"), [((2, 3, 4, 5), 3), ((2, 5), 3), ((2, 3, 4, 5, 6), 3), ((6, 1), 1)]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_advice_for_another_number_of_dimensions_works_when_followed(write, shape, ndim, pack):
    array = numpy.arange(math.prod(shape), dtype=numpy.uint8).reshape(shape)
    with pytest.raises(ValueError, match=f"with {len(shape)} for the number of dim.*reshape") as error:
        read_idx(write(pack(idx_bytes(array))), ndim=ndim)
    fitting = eval(re.search(r"`(array\.reshape.*?)`", str(error.value)).group(1), {"array": array})
    read = read_idx(write(idx_bytes(fitting)), ndim=ndim)
    assert len(read) == len(array)
    assert read.ravel().tolist() == array.ravel().tolist()


@pytest.mark.parametrize("content", [b"\0\0\x08\x04\0\0", b"\0\0\x08\0", b"\0\0\x08\xff" + bytes(2000)])
def test_header_of_an_unknown_shape_has_no_advice_to_reshape(write, content):
    with pytest.raises(ValueError, match=r"; check that it is the right file$"):
        read_idx(write(content), ndim=3)


def test_error_for_two_labels_per_row_asks_for_one(write):
    with pytest.raises(ValueError, match=r"; write it again with one label per image$"):
        read_idx(write(idx_bytes(numpy.zeros((3, 2), dtype=numpy.uint8))), ndim=1)


def test_other_element_types_are_named(write):
    with pytest.raises(
        ValueError,
        match=r"contains float32, but only uint8 is supported; convert it, or pass arrays to `xpnet.Dataset`",
    ):
        read_idx(write(header(1, 1, 1, kind=0x0D) + bytes(4)), ndim=3)


@pytest.mark.parametrize("shape", [(0, 28, 28), (5, 0, 28)])
def test_size_of_zero_is_refused(write, shape):
    with pytest.raises(ValueError, match=r"is empty: .* \(\d, \d+, 28\)"):
        read_idx(write(header(*shape)), ndim=3)


def test_truncated_gzip_is_refused(write):
    noise = numpy.random.default_rng(0).integers(0, 256, (10, 28, 28)).astype(numpy.uint8)
    content = gzip.compress(idx_bytes(noise))
    with pytest.raises(ValueError, match=r"its gzip trailer says .* truncated, damaged"):
        read_idx(write(content[:-100]), ndim=3)


def test_truncated_gzip_with_a_fitting_trailer_is_refused(write):
    noise = numpy.random.default_rng(0).integers(0, 256, (10, 28, 28)).astype(numpy.uint8)
    content = forge_trailer(gzip.compress(idx_bytes(noise))[:-100], 16 + noise.size)
    with pytest.raises(ValueError, match=r"is a truncated or damaged gzip file .*; download") as e:
        read_idx(write(content), ndim=3)
    assert isinstance(e.value.__cause__, EOFError)


def test_gzip_with_a_wrong_checksum_is_refused(write, array):
    content = bytearray(gzip.compress(idx_bytes(array)))
    content[-8] ^= 1
    with pytest.raises(ValueError, match=r"damaged gzip file .*CRC"):
        read_idx(write(content), ndim=3)


def test_gzip_of_several_members_says_to_unpack_it(write, array):
    content = idx_bytes(array)
    two = gzip.compress(content[:30]) + gzip.compress(content[30:])
    with pytest.raises(ValueError, match=r"says 10: .* several gzip members; .* `gunzip`"):
        read_idx(write(two), ndim=3)


@pytest.mark.parametrize("length", [2, 3, 10, 17])
def test_stump_of_a_gzip_file_is_refused(write, array, length):
    with pytest.raises(ValueError, match="is a truncated or damaged gzip file"):
        read_idx(write(gzip.compress(idx_bytes(array))[:length]), ndim=3)


def test_plain_header_with_a_huge_false_size_allocates_no_memory(write):
    path = write(header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100))
    assert peak_memory_of_refusal(path, "has 116, so .* are missing") < MOST_MEMORY


def test_gzipped_header_with_a_huge_false_size_allocates_no_memory(write):
    announced = 16 + 60000 * 784
    content = forge_trailer(gzip.compress(header(60000, 28, 28) + bytes(100)), announced)
    match = rf"{announced} bytes in all, but {len(content)} gzipped bytes hold at most"
    assert peak_memory_of_refusal(write(content), match) < MOST_MEMORY


@pytest.mark.skipif(not STATM.exists(), reason="asks Linux how much memory is resident")
def test_header_within_the_bound_allocates_only_for_bytes_that_arrive(write):
    noise = numpy.random.default_rng(0).bytes(MEBIBYTE)
    path = write(forge_trailer(gzip.compress(header(1000, 1000, 1000) + noise, 1), 16 + 10**9))
    before = resident_pages()
    with pytest.raises(ValueError, match="damaged gzip file") as error:
        read_idx(path, ndim=3)
    assert error.tb is not None  # which holds the reader's data
    assert (resident_pages() - before) * mmap.PAGESIZE < MOST_MEMORY


def test_bomb_with_a_small_header_is_not_unpacked(write):
    path = write(gzipped_zeros(header(1, 28, 28), 200))
    match = rf"800 bytes in all, but its gzip trailer says {16 + 200 * MEBIBYTE}"
    assert peak_memory_of_refusal(path, match) < MOST_MEMORY


def test_bomb_with_a_forged_trailer_stops_one_byte_past_the_announced(write):
    path = write(forge_trailer(gzipped_zeros(header(1, 28, 28), 200), 800))
    assert peak_memory_of_refusal(path, "800 bytes in all, but has more; ") < MOST_MEMORY


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 39), byte=st.integers(0, 255), end=st.integers(0, 44), zipped=st.booleans())
def test_any_damage_is_a_value_error_or_another_valid_array(write, array, position, byte, end, zipped):
    content = bytearray(idx_bytes(array) + b"more")
    content[position] = byte
    content = bytes(content[:end])
    path = write(gzip.compress(content) if zipped else content)
    try:
        read = read_idx(path, ndim=3)
    except ValueError as e:
        assert str(e).startswith("IDX file '")  # noqa: PT017
    else:
        assert idx_bytes(read) == content


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_flipped_gzip_byte_never_changes_the_array(write, array, position, flip):
    content = bytearray(gzip.compress(idx_bytes(array)))
    content[position % len(content)] ^= flip
    try:
        read = read_idx(write(content), ndim=3)
    except ValueError as e:
        assert str(e).startswith("IDX file '")  # noqa: PT017
    else:
        # Time, system and some flags in gzip's own header may change unnoticed.
        assert read.tolist() == array.tolist()


TYPED = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (3, 2, 4), (3, 2, 4, 3)])
@pytest.mark.parametrize("zipped", [False, True])
def test_numbers_of_each_type_and_any_dimensions_are_read(write, kind, shape, zipped):
    array = (numpy.arange(math.prod(shape)) * 1.5 - 9).astype(TYPED[kind]).reshape(shape)
    content = header(*shape, kind=kind) + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path = write(gzip.compress(content) if zipped else content)
    found = read_idx(path, ndim=(1, 2, 3, 4), dtypes=[*TYPES.values()])
    numpy.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert not found.flags.writeable


def test_file_of_wide_numbers_that_is_too_short_is_refused(write):
    path = write(header(2, 3, kind=0x0B) + bytes(11))
    with pytest.raises(ValueError, match=r"24 bytes in all, but is truncated: it has 23, so 1 are missing"):
        read_idx(path, ndim=2, dtypes=["int16"])


def test_labels_that_are_no_whole_numbers_are_refused_with_the_types_that_may_be(write):
    path = write(header(2, kind=0x0D) + bytes(8))
    with pytest.raises(
        ValueError, match="contains float32, but only uint8, int8, int16, int32 are supported"
    ):
        read_idx(path, ndim=1, dtypes=WHOLE_TYPES)
