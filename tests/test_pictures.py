"""Tests of what a picture becomes: what a person sees of it, however it comes in."""

import io
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from PIL import Image

from nlmeta.data import ImageFiles, from_dataset, from_folder
from nlmeta.data import images as images_module
from nlmeta.data.pictures import as_seen

SIDE = 16
RAMP = np.tile(np.arange(0, 256, 17, dtype=np.uint8), (SIDE, 1))  # black at the left, 16 greys
WIDE = RAMP.astype(np.uint16) * 257
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def of_file(path, size=SIDE):
    """The grey values of a file, (size, size); all channels must agree."""
    image = ImageFiles(path.parent, [path.name], size=size)[0]
    assert (image == image[:1]).all()
    return image[0].numpy()


def of_dataset(image):
    """What a split holds of a picture that a dataset gives, (channels, height, width)."""
    split = from_dataset([(image, 0), (image, 1)], class_names=["a", "b"], seed=0)
    assert split.train.x.stored.is_contiguous()
    return split.train.x.stored[0].numpy()


def with_tag(content, tag, value):
    """A TIFF of the lowest byte first in which a tag of one number has another value."""
    place = content.index(struct.pack("<H", tag), struct.unpack_from("<I", content, 4)[0])
    kind, count = struct.unpack_from("<HI", content, place + 2)
    assert (kind in (3, 4), count) == (True, 1)
    changed = bytearray(content)
    struct.pack_into("<H" if kind == 3 else "<I", changed, place + 8, value)
    return bytes(changed)


def tiff(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "TIFF")
    return file.getvalue()


# Bits


def twelve_bits():
    """Two numbers in three bytes, the higher bits first."""
    first, second = np.moveaxis((RAMP // 17 * np.uint16(273)).reshape(SIDE, -1, 2), 2, 0)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    content = tiff(packed.astype(np.uint8).reshape(SIDE, -1))
    return with_tag(with_tag(content, 256, SIDE), 258, 12)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("16.tif", tiff(WIDE)),
        ("16, 0 is white.tif", with_tag(tiff(65535 - WIDE), 262, 0)),
        ("12.tif", twelve_bits()),
        ("float.tif", tiff(RAMP.astype(np.float32) / 255)),
        ("float, 0 is white.tif", with_tag(tiff(1 - RAMP.astype(np.float32) / 255), 262, 0)),
        ("16.ppm", b"P5 16 16 65535\n" + WIDE.astype(">u2").tobytes()),
    ],
)
def test_grey_values_of_more_than_8_bits_are_scaled_and_not_clipped(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert np.array_equal(of_file(tmp_path / name), RAMP)


def test_pictures_of_16_bits_are_scaled_whichever_way_they_come(tmp_path):
    Image.fromarray(WIDE).save(tmp_path / "16.png")
    assert np.array_equal(of_file(tmp_path / "16.png"), RAMP)
    with Image.open(tmp_path / "16.png") as opened:
        for image in (opened, opened.copy()):
            assert np.array_equal(of_dataset(image), RAMP[None])
    reversed_bytes = Image.frombytes("I;16B", (SIDE, SIDE), WIDE.astype(">u2").tobytes())
    assert np.array_equal(of_dataset(reversed_bytes), RAMP[None])
    near = np.array([[0, 128, 129, 385, 386, 65535 - 129, 65535 - 128, 65535]], np.uint16)
    got = np.asarray(as_seen(Image.fromarray(near)))
    assert got.tolist() == [[0, 0, 1, 1, 2, 254, 255, 255]]  # the nearest of all k * 257


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (
            RAMP.astype(np.float32),
            "mode 'F': values go from 0 to 255, where 0 is black and 1 white",
        ),
        (RAMP / np.float32(255) - np.float32(0.5), "mode 'F': values go from -0.5 to 0.5, where 0"),
        (np.full((4, 4), np.nan, np.float32), "mode 'F': values go from nan to nan, where 0"),
        (
            RAMP.astype(np.int32),
            "mode 'I': integers of 32 bits, whose value for white is unknown",
        ),
    ],
)
def test_numbers_of_which_nobody_knows_which_is_white_are_refused(tmp_path, array, text):
    path = tmp_path / "numbers.tif"
    path.write_bytes(tiff(array))
    files = ImageFiles(tmp_path, ["numbers.tif"], size=4)
    refused(f"{path} does not decode as an image ({text}", lambda: files[0])
    refused(f"1 of 1 images that were checked do not decode:\n{path}", files.check)
    refused(
        f"`dataset` returns a picture at index 0 that does not decode ({text}",
        lambda: of_dataset(Image.fromarray(array)),
    )


# Transparency


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparent_parts_lie_on_white(tmp_path, mode):
    """Black that is there, half there, and not there; one column each."""
    black = Image.new("P" if mode == "PA" else "L", (3, 3))
    there = Image.fromarray(np.array([[255, 128, 0]] * 3, np.uint8))
    image = Image.merge("PA" if mode == "PA" else "LA", (black, there))
    if mode.startswith("RGB"):
        image = image.convert("RGBA")
    image = image.convert(mode)
    seen = of_dataset(image)
    assert seen.shape == (1 if mode in ("LA", "La") else 3, 3, 3)
    assert (seen == [0, 127, 255]).all()
    if mode in ("LA", "RGBA"):
        image.save(tmp_path / "clear.png")
        assert (of_file(tmp_path / "clear.png", size=3) == [0, 127, 255]).all()


def test_an_opaque_picture_with_an_alpha_channel_keeps_its_colours():
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    image.putalpha(255)
    assert np.array_equal(as_seen(image), colours)


@pytest.mark.parametrize(
    ("array", "mode", "clear"),
    [
        (RAMP, "L", 17),
        (WIDE, "I;16", 17 * 257),
        (np.stack([RAMP] * 3, -1), "RGB", (17, 17, 17)),
        (RAMP, "P", 17),
        (RAMP, "P", bytes(0 if i == 17 else 255 for i in range(256))),
    ],
)
def test_a_colour_that_a_file_calls_transparent_is_white(tmp_path, array, mode, clear):
    image = Image.fromarray(array)
    if mode == "P":
        image.putpalette([channel for grey in range(256) for channel in (grey, grey, grey)])
    assert image.mode == mode
    image.save(tmp_path / "key.png", transparency=clear)
    want = np.where(RAMP == 17, 255, RAMP)
    assert np.array_equal(of_file(tmp_path / "key.png"), want)
    with Image.open(tmp_path / "key.png") as opened:
        assert (of_dataset(opened) == want).all()


# Colours


@pytest.mark.parametrize(
    ("mode", "channels", "off"),
    [("1", 1, 0), ("CMYK", 3, 0), ("HSV", 3, 0), ("LAB", 3, 2), ("RGBX", 3, 0), ("YCbCr", 3, 0)],
)
def test_pictures_of_a_dataset_are_seen_in_grey_or_rgb(mode, channels, off):
    image = Image.fromarray(np.where(RAMP > 99, np.uint8(255), np.uint8(0))).convert("RGB")
    want = np.asarray(image.convert("L")).astype(int)
    seen = of_dataset(image.convert(mode)).astype(int)
    assert seen.shape == (channels, SIDE, SIDE)
    assert abs(seen - want).max() <= off


def test_palettes_of_a_dataset_are_colours_and_not_their_numbers():
    image = Image.fromarray(RAMP)
    image.putpalette([channel for i in range(256) for channel in (255 - i, i, 7)])
    seen = of_dataset(image)
    assert np.array_equal(seen, np.stack([255 - RAMP, RAMP, np.full_like(RAMP, 7)]))


def test_a_colour_picture_three_pixels_high_keeps_its_channels():
    pixels = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    assert np.array_equal(of_dataset(Image.fromarray(pixels)), pixels.transpose(2, 0, 1))


# Orientation


@pytest.mark.parametrize("way", TURNS)
@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_a_picture_is_turned_as_its_exif_data_say(tmp_path, ending, way):
    lying = np.zeros((16, 32, 3), np.uint8)
    lying[:8, :16], lying[8:, :16] = 255, 128
    exif = Image.Exif()
    exif[0x0112] = way
    path = tmp_path / f"lying{ending}"
    Image.fromarray(lying).save(path, exif=exif, **({} if ending == ".tif" else {"quality": 100}))
    upright = np.ascontiguousarray(TURNS[way](lying))
    Image.fromarray(upright).save(tmp_path / "upright.png")
    want = of_file(tmp_path / "upright.png", size=8)
    assert abs(of_file(path, size=8).astype(int) - want).max() <= 3
    with Image.open(path) as image:
        for given in (image, image.convert("RGB"), as_seen(image)):  # never turned twice
            got = of_dataset(given).astype(int)
            assert got.shape == (3, *upright.shape[:2])
            assert abs(got - upright.transpose(2, 0, 1)).max() <= 3


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize(
    "data", [b"no such format", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09" + bytes(6)]
)
def test_exif_data_that_say_nothing_leave_the_picture_as_it_lies(tmp_path, ending, data):
    """Either they are no EXIF data, or they name a ninth way to lie."""
    path = tmp_path / f"picture{ending}"
    Image.fromarray(RAMP).save(path, exif=b"Exif\0\0" + data, quality=100)
    assert abs(of_file(path).astype(int) - RAMP).max() <= 3


def test_pictures_of_a_folder_are_what_a_person_sees(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.fromarray(RAMP).save(tmp_path / "a" / "plain.png")
    Image.fromarray(WIDE).save(tmp_path / "a" / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP.T[::-1].copy()).save(tmp_path / "b" / "lying.png", exif=exif)
    Image.merge("LA", (Image.new("L", (SIDE, SIDE)), Image.fromarray(255 - RAMP))).save(
        tmp_path / "b" / "clear.png"
    )
    for in_memory in (True, False):
        split = from_folder(tmp_path, size=SIDE, seed=0, in_memory=in_memory)
        got = dict(zip(split.train.sample_ids, split.train.x.raw(slice(None)), strict=True))
        for path, image in got.items():
            assert (image.numpy() == RAMP).all(), path


# Size


@pytest.mark.parametrize("shape", [(48, 64), (65, 48), (16, 47), (33, 100), (7, 7), (16, 16)])
def test_the_middle_square_is_that_of_the_whole_picture_brought_to_size(tmp_path, shape):
    """Bit for bit where one side is up to three times the other."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.save(tmp_path / "noise.png")
    scale = 16 / min(shape)
    width, height = round(shape[1] * scale), round(shape[0] * scale)
    whole = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    left, top = (width - 16) // 2, (height - 16) // 2
    want = whole[top : top + 16, left : left + 16].transpose(2, 0, 1)
    assert np.array_equal(ImageFiles(tmp_path, ["noise.png"], size=16)[0], want)


def test_the_middle_of_a_long_picture_is_kept(tmp_path):
    for length in (399, 400):
        line = np.zeros((length, 4), np.uint8)
        line[length // 2 - 4 :] = 200  # so that the middle square lies below the edge
        Image.fromarray(line).save(tmp_path / "line.png")
        assert (of_file(tmp_path / "line.png", size=4) == 200).all()
        Image.fromarray(line.T[:, ::-1].copy()).save(tmp_path / "line.png")
        assert (of_file(tmp_path / "line.png", size=4) == 200).all()


PEAK = """
import re, sys
from pathlib import Path
from nlmeta.data.images import ImageFiles
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
files = ImageFiles(Path(sys.argv[1]), sys.argv[2:], size=256)
before = peak()
files[:]
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak")
def test_a_thin_picture_takes_no_more_memory_than_its_square(tmp_path):
    """93 bytes of 1 x 2000 pixels; brought to size as a whole they would take 500 MiB."""
    Image.new("RGB", (1, 2000), (9, 9, 9)).save(tmp_path / "high.png")
    Image.new("RGB", (2000, 1), (9, 9, 9)).save(tmp_path / "wide.png")
    names = ["high.png", "wide.png"] * 4
    command = [sys.executable, "-c", PEAK, str(tmp_path), *names]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 64  # MiB; threads and Pillow take about 15


def test_large_pictures_are_decoded_one_after_the_other_and_keep_their_places(
    tmp_path, monkeypatch
):
    for i in range(8):
        Image.new("L", (12 if i % 2 else 8, 12), 30 * i).save(tmp_path / f"{i}.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "1.png").read_bytes()[:45])
    threads = {}

    def note(image):
        threads.setdefault(image.size, set()).add(threading.get_ident())
        return as_seen(image)

    monkeypatch.setattr(images_module, "LARGE", 100)
    monkeypatch.setattr(images_module, "as_seen", note)
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(8)], size=4)
    assert files[:][:, 0, 0, 0].tolist() == [30 * i for i in range(8)]
    assert threads[12, 12] == {threading.get_ident()}
    assert threading.get_ident() not in threads[8, 12]
    files.check()
    damaged = ImageFiles(tmp_path, ["0.png", "damaged.png"], size=4)
    refused(
        f"1 of 2 images that were checked do not decode:\n{tmp_path / 'damaged.png'}", damaged.check
    )
    refused(tmp_path / "damaged.png", lambda: damaged[:])


# Damage


def test_a_decoder_that_stumbles_in_a_way_of_its_own_is_told_with_the_path(tmp_path, monkeypatch):
    def stumble(path):
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(Image, "open", stumble)
    files = ImageFiles(tmp_path, ["a.png"], size=4)
    refused(f"{tmp_path / 'a.png'} does not decode as an image (unpack", lambda: files[0])
    refused("1 of 1 images that were checked do not decode", files.check)
