import numpy as np
import pytest
from PIL import Image

from tfcompress.image_files import read_image

QUARTER_TURN = 6


def save_turned(pixels, path):
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = QUARTER_TURN
    image.save(path, exif=exif)


def test_file_is_turned_by_its_exif_orientation(tmp_path):
    pixels = np.arange(10, dtype=np.uint8).reshape(2, 5)
    save_turned(pixels, tmp_path / "a.png")
    expected = np.rot90(pixels, k=-1)[..., None]  # clockwise
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_transparency_is_dropped(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) + 200
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels[..., :3])


def test_palette_with_transparency_becomes_rgb(tmp_path):
    pixels = np.repeat(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), 4, axis=0)
    palette = Image.fromarray(pixels).quantize(2)
    palette.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


def png_of_16_bits(channels):
    import struct
    import zlib

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", 2, 2, 16, colour, 0, 0, 0)
    rows = (b"\0" + b"\x12\x34" * (2 * channels)) * 2
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_refused_in_grey_and_in_colour(tmp_path, channels):
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(channels))
    with pytest.raises(ValueError, match=r"deep\.png .*16 bits, not 8 bits a channel"):
        read_image(tmp_path / "deep.png")


def test_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    Image.fromarray(np.zeros([10, 10], np.uint8)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match=r"huge\.png .*100 pixels.*Replace it or leave it out"):
        read_image(tmp_path / "huge.png")
