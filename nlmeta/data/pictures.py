"""Pictures of any mode and depth as the bytes that a person sees."""

from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

__all__ = ["as_seen", "middle_square"]

# How a picture lies, by the number that EXIF has for it; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY = ("1", "L", "LA", "La")  # modes of up to 8 bits
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def as_seen(image: Image.Image) -> Image.Image:
    """A picture of any mode and depth as a person sees it: 8 bits, upright, nothing transparent.

    Grey values of 16 bits are scaled from 65535 to 255, and floating-point values from 1 to 255.
    (So the 12 bits of a camera stay dark in a file of 16 bits.) Transparent parts are placed on
    white, as on a page. The picture is rotated or mirrored according to its EXIF data; unreadable
    EXIF data are ignored. Palettes, CMYK and other colour spaces become RGB. Colour profiles (ICC)
    are not applied.

    Parameters
    ----------
    image : PIL.Image.Image
        The picture. For an animation or a file of several pages, its current frame is used; after
        opening this is the first.

    Returns
    -------
    PIL.Image.Image
        A picture of mode ``"L"`` if the mode of `image` is a grey one, else ``"RGB"``. It is
        `image` itself if nothing has to be changed.

    Raises
    ------
    ValueError
        Floating-point numbers (mode ``"F"``) are not all from 0 to 1; or the picture holds integers
        of 32 bits (mode ``"I"``), whose value for white is unknown.
    """
    image.load()  # some formats have EXIF data at their end, TIFF is turned while it is loaded
    if image.mode.startswith("I") or image.mode == "F":
        seen = _in_eight_bits(image)
    elif image.has_transparency_data:
        seen = _on_white(image)
    else:
        mode = "L" if image.mode in _GREY else "RGB"
        seen = image if image.mode == mode else image.convert(mode)
    turn = _TURNS.get(_orientation(image))
    if turn is not None:
        seen = seen.transpose(turn)
        seen.info = {}  # which said how it lay
    return seen


def middle_square(image: Image.Image, size: int) -> Tensor:
    """The middle square of a picture after resizing its shorter side.

    Parameters
    ----------
    image : PIL.Image.Image
        A picture from `as_seen`.
    size : int
        Side of the square in pixels.

    Returns
    -------
    Tensor of uint8, shape (3, size, size)
        The square.
    """
    short = min(image.size)
    # Far ends would only take memory: of 1 x 2000 pixels there would be 256 x 512000.
    across, down = (max(0, (side - 3 * short) // 2) for side in image.size)
    box = across, down, image.width - across, image.height - down
    scale = size / short
    width = max(size, round((box[2] - box[0]) * scale))
    height = max(size, round((box[3] - box[1]) * scale))
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR, box)
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits or of floating-point numbers."""
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # these two mean 16 bits by it
        raise ValueError(
            "mode 'I': integers of 32 bits, whose value for white is unknown; convert them to 8 "
            "bits, mode 'L', or to 16, mode 'I;16'"
        )
    tags = getattr(image, "tag_v2", {})  # of a TIFF, which may have 12 bits, and 0 for white
    white = 1 if image.mode == "F" else 2 ** tags.get(_BITS, (16,))[0] - 1
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= white:
        raise ValueError(
            f"mode {image.mode!r}: values go from {low:g} to {high:g}, where 0 is black and "
            f"{white} white; scale them to this range, or convert them to 8 bits, mode 'L'"
        )
    grey = np.rint(values * np.float32(255 / white)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:  # the one grey value that is no paint
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    mode = "L" if image.mode in _GREY else "RGB"
    if image.mode == "La":  # Pillow has no other way from it
        image = image.convert("LA")
    paint = image.convert("RGBA")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(paint, mask=paint)
    return ground if mode == "RGB" else ground.convert(mode)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data, in any way; viewers show such a picture as it lies
        return None
