"""Images that are drawn for evaluation, each with the question that is asked about it.

Drawn here, so that nothing is fetched and everybody's model is shown the same: a plot, shapes and
text are what vision models are used for, and what a damaged one gets wrong first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["DRAWINGS", "draw"]

SIDE = 448  # pixels
INK, PAPER = (20, 20, 20), (255, 255, 255)


def draw(name: str, path: Path) -> str:
    """Draw the image called ``name``, 448 x 448 RGB, as a PNG into ``path``; its question."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (SIDE, SIDE), PAPER)
    paint, question = DRAWINGS[name]
    paint(ImageDraw.Draw(image))
    image.save(path, format="PNG")
    return question


def _plot(canvas: Any) -> None:
    """A sine wave over axes with ticks."""
    left, bottom, right, top = 60, 390, 420, 50
    canvas.line([(left, top), (left, bottom), (right, bottom)], fill=INK, width=3)
    for step in range(1, 7):
        x = left + (right - left) * step // 6
        y = bottom + (top - bottom) * step // 6
        canvas.line([(x, bottom), (x, bottom + 8)], fill=INK, width=2)
        canvas.line([(left - 8, y), (left, y)], fill=INK, width=2)
    middle, height = (top + bottom) / 2, (bottom - top) * 0.4
    points = [
        (x, round(middle - height * math.sin(2 * math.pi * (x - left) / (right - left))))
        for x in range(left, right + 1)
    ]
    canvas.line(points, fill=(200, 30, 30), width=5)


def _shapes(canvas: Any) -> None:
    """A red circle, a blue square and a green triangle."""
    canvas.ellipse([40, 40, 200, 200], fill=(210, 30, 30), outline=INK, width=3)
    canvas.rectangle([250, 40, 410, 200], fill=(30, 60, 210), outline=INK, width=3)
    canvas.polygon([(225, 240), (135, 410), (315, 410)], fill=(30, 160, 60), outline=INK)


LETTERS: Mapping[str, tuple[str, ...]] = {
    "M": ("#...#", "##.##", "#.#.#", "#...#", "#...#", "#...#", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "X": ("#...#", "#...#", ".#.#.", "..#..", ".#.#.", "#...#", "#...#"),
    "4": ("...#.", "..##.", ".#.#.", "#..#.", "#####", "...#.", "...#."),
    "2": (".###.", "#...#", "....#", "...#.", "..#..", ".#...", "#####"),
}
"""Seven rows of five dots: the letters do not depend on the fonts of a machine."""


def _text(canvas: Any) -> None:
    """MLX above 42, in black letters."""
    _word(canvas, "MLX", 52, 90, 20)
    _word(canvas, "42", 114, 270, 20)


def _word(canvas: Any, word: str, left: int, top: int, dot: int) -> None:
    for place, letter in enumerate(word):
        for row, dots in enumerate(LETTERS[letter]):
            for column, sign in enumerate(dots):
                if sign == "#":
                    x = left + (place * 6 + column) * dot
                    y = top + row * dot
                    canvas.rectangle([x, y, x + dot - 1, y + dot - 1], fill=INK)


DRAWINGS: Mapping[str, tuple[Callable[[Any], None], str]] = {
    "plot": (_plot, "What does this plot show?"),
    "shapes": (_shapes, "Which shapes are in this image, and what are their colors?"),
    "text": (_text, "What is written in this image?"),
}
