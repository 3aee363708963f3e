import subprocess
import sys

import numpy as np
import pytest
from drawn_digits import digits, drawn
from PIL import Image

import xpnet
from xpnet import handwriting
from xpnet.handwriting.components import labelled

SEVEN = digits()[72]
NONE = "^no digit is found on the picture; pass one with a single digit in clear strokes"


def seven(**options):
    return drawn(SEVEN, **options)


def difference(one, other):
    return np.abs(one.astype(int) - other).mean()


def test_steps_are_named_and_the_last_is_prepared():
    steps = handwriting.steps(seven())
    assert [step.name for step in steps] == [
        "grey",
        "inverted",
        "background removed",
        "cropped to the ink",
        "scaled to 20 pixels",
        "centre of mass in the middle",
    ]
    assert all(step.image.dtype == np.uint8 for step in steps)
    assert (steps[-1].image == handwriting.prepared(seven())).all()


def test_bright_ink_is_not_inverted():
    steps = handwriting.steps(seven(ink=255, paper=0))
    assert "inverted" not in [step.name for step in steps]
    assert difference(steps[-1].image, handwriting.prepared(seven())) < 1


def test_longer_side_has_20_pixels_and_centre_of_mass_is_in_the_middle():
    for digit in digits():
        image = handwriting.prepared(drawn(digit))
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        for axis in (0, 1):
            mass = image.sum(axis=axis)
            assert abs((mass * np.arange(28)).sum() / mass.sum() - 14) <= 0.51
        assert image.max() == 255


def test_a_digit_of_mnist_stays_almost_as_it_is(mnist):
    image = mnist[1].images[0].reshape(28, 28)
    assert difference(handwriting.prepared(image), image) < 1


def test_place_does_not_matter():
    moved = np.full((500, 780), 255, np.uint8)
    moved[290:490, 50:250] = seven(side=200)
    assert difference(handwriting.prepared(moved), handwriting.prepared(seven(side=200))) < 1


@pytest.mark.parametrize("side", [200, 900, 2000])
def test_size_does_not_matter(side):
    found, expected = handwriting.prepared(seven(side=side)), handwriting.prepared(seven(side=400))
    # The centre of mass may round to the next pixel.
    assert (
        min(difference(np.roll(found, (i, j), (0, 1)), expected) for i in (-1, 0, 1) for j in (-1, 0, 1)) < 4
    )


def test_size_of_the_image_can_be_chosen():
    image = handwriting.prepared(seven(), size=(8, 8))
    assert image.shape == (8, 8)
    assert image.max() == 255
    with pytest.raises(ValueError, match=r"^`size` must be \(height, width\), both above 0, got \(0, 8\)$"):
        handwriting.prepared(seven(), size=(0, 8))


@pytest.mark.parametrize("ink", [(0, 0, 0), (20, 40, 200), (200, 30, 30)], ids=["black", "blue", "red"])
def test_ink_has_any_colour(ink):
    shown = seven()[..., None] / 255
    picture = (shown * 255 + (1 - shown) * np.array(ink)).astype(np.uint8)
    assert difference(handwriting.prepared(picture), handwriting.prepared(seven())) < 3


@pytest.mark.parametrize("value", [0, 255])
def test_ink_on_a_transparent_background_is_seen(value):
    picture = np.full((280, 280, 4), value, np.uint8)
    picture[..., 3] = 255 - seven()
    assert difference(handwriting.prepared(picture), handwriting.prepared(seven())) < 1


def test_transparent_corners_are_taken_for_paper():
    picture = np.dstack([seven()] * 3 + [np.full((280, 280), 255, np.uint8)])
    picture[:8, :8] = picture[-8:, -8:] = 0
    assert difference(handwriting.prepared(picture), handwriting.prepared(seven())) < 1


def test_shadow_squared_paper_and_specks_are_left_out():
    picture = seven(side=400) / 255 * 0.9
    picture[::40] -= 0.2 * (picture[::40] > 0.5)
    picture[:, ::40] -= 0.2 * (picture[:, ::40] > 0.5)
    picture[:, 260:] *= 0.7
    rng = np.random.default_rng(3)
    picture[rng.random(picture.shape) < 0.0005] = 0
    assert difference(handwriting.prepared(picture), handwriting.prepared(seven(side=400))) < 8


def test_digit_of_five_by_five_pixels_is_found():
    glyph = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]])
    assert handwriting.prepared(1.0 - glyph).max() == 255


def picture_without_digit(kind):
    rng = np.random.default_rng(5)
    down, across = np.mgrid[:300, :400]
    return {
        "white": np.full((300, 400), 255, np.uint8),
        "black": np.zeros((28, 28), np.uint8),
        "transparent": np.zeros((50, 50, 4), np.uint8),
        "uniform noise": rng.integers(0, 256, (300, 400), dtype=np.uint8),
        "black and white noise": rng.integers(0, 2, (300, 400)).astype(np.uint8) * 255,
        "specks": (rng.random((300, 400)) < 0.01).astype(np.uint8) * 255,
        "normal noise": np.clip(rng.normal(200, 20, (300, 400)), 0, 255).astype(np.uint8),
        "gradient": (across / 400).astype(np.float32),
        "noisy vignette": np.clip(
            0.9 - np.hypot(down / 300 - 0.5, across / 400 - 0.5) ** 2 + rng.normal(0, 0.02, (300, 400)), 0, 1
        ),
        "noisy gradient": np.clip(across / 500 + rng.normal(0.1, 0.02, (300, 400)), 0, 1),
        "dark half": (across > 200).astype(np.float32),
        "stripes": (down % 2).astype(np.float32),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "white",
        "black",
        "transparent",
        "uniform noise",
        "black and white noise",
        "specks",
        "normal noise",
        "gradient",
        "noisy gradient",
        "noisy vignette",
        "dark half",
        "stripes",
    ],
)
def test_picture_without_a_digit_is_refused(kind):
    with pytest.raises(ValueError, match=NONE):
        handwriting.prepared(picture_without_digit(kind))


@pytest.mark.parametrize(
    ("picture", "error", "text"),
    [
        (np.zeros((28, 28), np.int64), TypeError, "must be uint8, or float in [0, 1], got int64"),
        (np.full((28, 28), 255.0), ValueError, "must be in [0, 1], got 255 to 255; pass pixels of 0 to 255"),
        (np.full((28, 28), np.nan), ValueError, "must be in [0, 1], got nan to nan"),
        (np.zeros((28, 28, 2), np.uint8), ValueError, "(height, width, 3 or 4), got (28, 28, 2)"),
        (np.zeros((2, 2), np.uint8), ValueError, "has 2 x 2 pixels, too few for a digit"),
        (np.zeros((0, 28), np.uint8), ValueError, "has 0 x 28 pixels, too few"),
    ],
    ids=["int64", "large floats", "nan", "channels", "tiny", "empty"],
)
def test_array_that_is_no_picture_is_refused(picture, error, text):
    with pytest.raises(error) as raised:
        handwriting.prepared(picture)
    assert text in str(raised.value)


def test_components_connect_at_corners():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 1]], bool)
    found = labelled(mask)
    assert found.max() == 4
    assert found[0, 0] == found[1, 1] != 0
    assert found[2, 3] == found[3, 3] != found[0, 3]
    assert found[3, 0] == found[3, 1]


def test_a_spiral_is_one_component():
    mask = np.zeros((101, 101), bool)
    for i in range(0, 50, 4):
        mask[i, i : 101 - i] = mask[i : 101 - i, 100 - i] = mask[100 - i, i : 101 - i] = True
        mask[i + 4 : 101 - i, i] = True
        mask[i + 4, i : i + 5] = True
    assert labelled(mask).max() == 1


def test_file_is_read_and_turned_as_its_exif_data_say(tmp_path):
    turned = Image.fromarray(seven()).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    turned.save(tmp_path / "seven.jpg", exif=exif, quality=95)
    Image.fromarray(seven()).save(tmp_path / "seven.png")
    expected = handwriting.prepared(seven())
    assert (handwriting.read(tmp_path / "seven.png") == expected).all()
    assert difference(handwriting.read(tmp_path / "seven.jpg"), expected) < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_file_has_any_mode(tmp_path, mode):
    picture = Image.fromarray(seven())
    if mode == "I;16":
        picture = Image.fromarray(seven().astype(np.uint16) * 257)
    elif mode != "L":
        picture = picture.convert("RGB").convert(mode)
    path = tmp_path / ("seven.jpg" if mode == "CMYK" else "seven.png")
    picture.save(path)
    assert difference(handwriting.read(path), handwriting.prepared(seven())) < 2


@pytest.mark.parametrize(("dtype", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_pixels_without_a_fixed_range_are_refused(tmp_path, dtype, mode):
    path = tmp_path / "seven.tif"
    Image.fromarray((seven() / (255 if mode == "F" else 1)).astype(dtype)).save(path)
    text = rf"seven.tif': its pixels have no fixed range \(mode '{mode}'\); save it with 8 bits$"
    with pytest.raises(ValueError, match=text):
        handwriting.read(path)
    with pytest.raises(ValueError, match=text):
        handwriting.whole(path, (28, 28), 1)


def test_portable_greymap_of_16_bits_is_read(tmp_path):
    pixels = seven().astype(">u2") * 257
    path = tmp_path / "seven.pgm"
    path.write_bytes(b"P5 %d %d 65535\n" % pixels.shape[::-1] + pixels.astype(">u2").tobytes())
    assert difference(handwriting.read(path), handwriting.prepared(seven())) < 2


def test_still_gif_is_read_and_an_animated_one_refused(tmp_path):
    frames = [Image.fromarray(seven()), Image.fromarray(seven(ink=100))]
    frames[0].save(tmp_path / "still.gif")
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    assert handwriting.read(tmp_path / "still.gif").max() == 255
    with pytest.raises(ValueError, match=r"moves.gif': it has 2 frames; save one of them as a picture of"):
        handwriting.read(tmp_path / "moves.gif")


def test_picture_behind_that_of_a_phone_is_ignored(tmp_path):
    first = Image.fromarray(seven())
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[first])
    assert handwriting.read(tmp_path / "phone.jpg").max() == 255


def test_file_that_is_no_picture_is_refused(tmp_path):
    path = tmp_path / "seven.png"
    with pytest.raises(
        FileNotFoundError, match=r"cannot read the picture .*: No such file or directory; pass"
    ):
        handwriting.read(path)
    with pytest.raises(IsADirectoryError, match=r"cannot read the picture .*: it is a folder; pass another"):
        handwriting.read(tmp_path)
    path.write_text("not a picture")
    with pytest.raises(ValueError, match=r"seven.png': it is damaged or not a picture; pass a whole PNG"):
        handwriting.read(path)
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (99, 99), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"seven.png': it is damaged or not a picture"):
        handwriting.read(path)


def test_blank_file_is_named(tmp_path):
    Image.new("L", (50, 50)).save(tmp_path / "blank.png")
    with pytest.raises(ValueError, match=r"blank.png': no digit is found on the picture"):
        handwriting.read(tmp_path / "blank.png")


@pytest.mark.parametrize("side", [8100, 14000])
def test_more_than_64_million_pixels_are_refused(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="64 million") as raised:
        handwriting.read(tmp_path / "huge.png")
    assert "make it smaller" in str(raised.value)


LARGE = """
import sys
import numpy as np
import PIL.Image
from xpnet import handwriting

def most():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

handwriting.prepared(np.eye(60, dtype=np.uint8) * 255)
before = most()
handwriting.read(sys.argv[1])
read = most()
handwriting.whole(sys.argv[1], (28, 28), 1)
print((read - before) // 1024, (most() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize(
    ("mode", "suffix", "most"), [("RGB", "jpg", 100), ("RGBA", "png", 300), ("LA", "png", 300)]
)
def test_picture_of_64_megapixels_takes_bounded_memory(tmp_path, mode, suffix, most):
    picture = Image.fromarray(seven()).convert(mode).resize((8000, 8000), Image.Resampling.NEAREST)
    path = tmp_path / f"large.{suffix}"
    picture.save(path, **({"compress_level": 1} if suffix == "png" else {}))
    del picture
    done = subprocess.run([sys.executable, "-c", LARGE, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read, whole = map(int, done.stdout.split())
    assert read < most  # MiB; the pixels alone are 244 as Pillow stores them
    assert whole < 520


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_large_picture_is_resized_as_a_small_one_is(tmp_path, mode):
    small = Image.fromarray(seven()).rotate(90).convert(mode).crop((0, 0, 280, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    found = []
    for times in (1, 20):
        path = tmp_path / f"{times}.png"
        size = small.width * times, small.height * times
        small.resize(size, Image.Resampling.NEAREST).save(path, exif=exif, compress_level=1)
        found.append(handwriting.whole(path, (40, 30), 3))
    assert found[1].shape == (40, 30, 3)
    assert found[1].min() < 100
    assert difference(*found) < 1


def test_pillow_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pictures need Pillow: .*`pip install 'xpnet\[images\]'`"):
        handwriting.read(tmp_path / "seven.png")


def test_images_are_scaled_as_the_floats_that_a_model_was_trained_on(numpy_xp, mnist):
    floats = mnist[0].images[:200].astype(np.float32) / 127.5 - 1
    dataset = xpnet.Dataset(floats, mnist[0].labels[:200])
    run = xpnet.fit(numpy_xp, xpnet.mlp(784, 10), dataset, optimizer=xpnet.SGD(0.1), epochs=1)
    found = handwriting.inputs_of(run, [handwriting.prepared(seven())])
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == (-1, 1)
    assert run.predict(found).shape == (1,)
