"""The fourteen operations of RandAugment: an operation for each image, whole batches at once.

They give the bytes of torchvision and Pillow; `nlmeta.data.augmentation` lists the exceptions. The
augmentations there choose the operation and its strength for each image.
"""

import torch
from torch import Tensor

__all__ = ["OPERATIONS", "both_directions", "operate", "pixels_at"]

# In torchvision's order. A number that chooses an operation counts along this list.
OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)


def both_directions(
    *,
    shear: float,
    shift_x: int,
    shift_y: int,
    degrees: float,
    factors: tuple[float, float],
    bits: int,
    threshold: float,
) -> Tensor:
    """Put the strengths of all operations into a table.

    Parameters
    ----------
    shear, shift_x, shift_y, degrees : float
        Sizes of the operations with a direction.
    factors : (float, float)
        The factor of Brightness, Color, Contrast and Sharpness, one for each direction.
    bits : int
        Number of bits of a grey value that Posterize keeps.
    threshold : float
        The smallest grey value that Solarize inverts.

    Returns
    -------
    Tensor of float32, shape (14, 2)
        A table on the CPU with a row for each of `OPERATIONS` and a column for each direction.
        `operate` has the units.
    """
    step = 2 ** (8 - bits)
    pairs = {
        "ShearX": (-shear, shear),
        "ShearY": (-shear, shear),
        "TranslateX": (-shift_x, shift_x),
        "TranslateY": (-shift_y, shift_y),
        "Rotate": (-degrees, degrees),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), factors),
        "Posterize": (step, step),
        "Solarize": (threshold, threshold),
    }
    rows = [pairs.get(operation, (0.0, 0.0)) for operation in OPERATIONS]
    return torch.tensor(rows, dtype=torch.float32, device="cpu")


def operate(x: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Apply an operation of its own to each image.

    There are three families of operations. On a GPU each family runs over the whole batch and does
    not change images of another family, since selecting its images would make the CPU wait.

    Parameters
    ----------
    x : Tensor of uint8, shape (n, channels, height, width)
        Images.
    operation : Tensor of int64, shape (n,)
        Indices of `OPERATIONS`.
    strength : Tensor of float32, shape (n,)
        Strengths. Shear: pixels sideways for each pixel. Translate: whole pixels, to the right or
        down. Rotate: degrees, counter-clockwise. Brightness, Color, Contrast, Sharpness: the
        factor; 1 changes nothing. Posterize: distance of the grey values that are kept. Solarize:
        the smallest grey value that is inverted.
    """
    x = x.clone()
    for family, names in (
        (_moved, ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")),
        (_looked_up, ("Posterize", "Solarize", "AutoContrast", "Equalize")),
        (_blended, ("Brightness", "Color", "Contrast", "Sharpness")),
    ):
        rows: slice | Tensor = slice(None)
        if x.device.type == "cpu":
            rows = torch.stack([_is(operation, name) for name in names]).any(0)
        x[rows] = family(x[rows], operation[rows], strength[rows])
    return x


def _moved(x: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Shears, translations and rotation, by nearest neighbour."""
    height, width = x.shape[2:]

    def of(name: str) -> Tensor:
        return (strength * _is(operation, name))[:, None, None]

    radians = torch.deg2rad(of("Rotate"))
    cos, sin, shear_x, shear_y = radians.cos(), radians.sin(), of("ShearX"), of("ShearY")
    across = torch.arange(width, dtype=torch.float32, device=x.device) - (width - 1) / 2
    down = (torch.arange(height, dtype=torch.float32, device=x.device) - (height - 1) / 2)[:, None]
    # Rotations are about the middle, shears about the corner. Products and sums are written out: a
    # matrix product may be in TensorFloat-32, which misses pixels of large images.
    column = cos * across + (shear_x - sin) * down + (shear_x * height / 2 - of("TranslateX"))
    row = (sin + shear_y) * across + cos * down + (shear_y * width / 2 - of("TranslateY"))
    row, column = row + (height - 1) / 2, column + (width - 1) / 2  # (n, height, width)
    return pixels_at(x, row.round().long(), column.round().long())


def _looked_up(x: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Operations on single grey values, by a table for each channel of each image."""
    pixels = x.flatten(2).long()  # (n, channels, height * width)
    value = torch.arange(256, device=x.device)
    low = x.amin((2, 3)).long()[:, :, None]  # (n, channels, 1)
    high = x.amax((2, 3)).long()[:, :, None]

    step = strength.masked_fill(~_is(operation, "Posterize"), 1).long()[:, None, None]
    posterized = value - value % step
    solarized = torch.where(value < strength[:, None, None], value, 255 - value)

    # The division of torchvision, so that its float32 rounds alike.
    stretched = ((value - low) / ((high - low) * (1 / 255))).clamp(0, 255)
    stretched = torch.where(high > low, stretched, value).long()

    # Pillow's whole-number recipe, which torchvision has too: the highest grey value there is does
    # not count towards the width of a step.
    counts = torch.zeros(*x.shape[:2], 256, dtype=torch.int32, device=x.device)
    counts.scatter_add_(2, pixels, counts.new_ones(1).expand_as(pixels))
    width = (pixels.shape[2] - counts.gather(2, high)) // 255
    below = counts.cumsum(2) - counts  # (n, channels, 256)
    equalized = ((below + width // 2) // width.clamp(min=1)).clamp(max=255)
    equalized = torch.where(width > 0, equalized, value)

    table = value.expand_as(counts)
    for name, changed in (
        ("Posterize", posterized),
        ("Solarize", solarized),
        ("AutoContrast", stretched),
        ("Equalize", equalized),
    ):
        table = torch.where(_is(operation, name)[:, None, None], changed, table)
    return table.to(torch.uint8).gather(2, pixels).view_as(x)


def _blended(x: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Operations that blend the image with a degenerate one."""
    image = x.float()  # whole numbers below 2 ** 24: their sums and products are exact
    grey = image
    if x.shape[1] == 3:
        red, green, blue = image.unbind(1)
        # torchvision's shares. The half keeps clear of whole numbers, however a device divides.
        grey = ((2989 * red + 5870 * green + 1140 * blue + 0.5) / 10000).floor()[:, None]
    total = grey.sum((2, 3), keepdim=True, dtype=torch.long)  # exact for large images too

    degenerate = image
    for name, other in (
        ("Brightness", torch.zeros_like(grey)),
        ("Color", grey),
        ("Contrast", total / (x.shape[2] * x.shape[3])),
        ("Sharpness", _blurred(image)),
    ):
        degenerate = torch.where(_is(operation, name)[:, None, None, None], other, degenerate)
    # Where the degenerate image is the image itself, this is exactly the image.
    blend = degenerate + strength[:, None, None, None] * (image - degenerate)
    return blend.clamp(0, 255).to(torch.uint8)


def _blurred(image: Tensor) -> Tensor:
    """Five times each pixel plus its eight neighbours, divided by 13; the border stays."""
    three = image[:, :, :-2] + image[:, :, 1:-1] + image[:, :, 2:]  # one below the other
    nine = three[..., :-2] + three[..., 1:-1] + three[..., 2:]
    blurred = image.clone()
    blurred[:, :, 1:-1, 1:-1] = ((nine + 4 * image[:, :, 1:-1, 1:-1]) / 13).round()
    return blurred


def pixels_at(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Take from each image the pixels at given places, black outside.

    Parameters
    ----------
    x : Tensor of uint8, shape (n, channels, height, width)
        Images.
    row, column : Tensor of int64
        Coordinates, which broadcast to (n, new height, new width).

    Returns
    -------
    Tensor of uint8, shape (n, channels, new height, new width)
        The pixels.
    """
    n, channels, height, width = x.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    index = place.flatten(1)[:, None].expand(n, channels, -1)
    return x.flatten(2).gather(2, index).unflatten(2, place.shape[1:]) * inside[:, None]


def _is(operation: Tensor, name: str) -> Tensor:
    return operation == OPERATIONS.index(name)
