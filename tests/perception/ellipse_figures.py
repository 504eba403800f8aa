"""Clips of a figure made of ellipses, with its true masks."""

import cv2
import numpy as np

ROWS, COLUMNS, FPS = 180, 320, 25.0


def background(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 200, (9, 16, 3)).astype(np.float32)
    fine = rng.normal(0, 10, (ROWS, COLUMNS, 1)).astype(np.float32)
    return (
        cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
        + cv2.GaussianBlur(fine, (0, 0), 1)[..., None]
    )


def figure(middle: float, phase: float, height: float = 120.0, bottom: float = 165.0) -> np.ndarray:
    """Return the mask of a walking figure, ``(rows, columns)`` bool."""
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    top = bottom - height
    swing = 22 * np.sin(phase)

    def limb(y: float, length: float, angle: float, width: float) -> None:
        direction = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
        x, y = np.array([middle, y]) + direction * length / 2
        cv2.ellipse(mask, ((x, y), (width, length), -angle), 255, -1)

    cv2.ellipse(mask, ((middle, top + 0.08 * height), (0.12 * height, 0.16 * height), 0), 255, -1)
    cv2.ellipse(mask, ((middle, top + 0.34 * height), (0.22 * height, 0.46 * height), 0), 255, -1)
    for side in (-1, 1):
        limb(top + 0.48 * height, 0.52 * height, side * swing, 0.11 * height)
        limb(top + 0.2 * height, 0.36 * height, -side * 1.3 * swing, 0.07 * height)
    return mask > 0


def clip(
    frames: int = 75, *, walks: bool = True, jump: bool = True, pan: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames ``(t, rows, columns, 3)`` uint8 and true masks ``(t, rows, columns)`` bool."""
    rng = np.random.default_rng(seed)
    scene = background(seed)
    pictures = np.empty((frames, ROWS, COLUMNS, 3), np.uint8)
    masks = np.zeros((frames, ROWS, COLUMNS), bool)
    clothes = np.array([150, 60, 50], np.float32) + 12 * cv2.GaussianBlur(
        rng.normal(0, 1, (ROWS, COLUMNS, 3)).astype(np.float32), (0, 0), 2
    )
    for i in range(frames):
        picture = np.roll(scene, round(pan * i), axis=1).copy()
        if walks:
            masks[i] = figure(35 + 250 * i / frames, 2 * np.pi * 0.9 * i / FPS)
            picture[masks[i]] = clothes[masks[i]]
        if jump and frames // 2 <= i < frames // 2 + 10:
            picture = picture * 1.12 + 4
        pictures[i] = (picture + rng.normal(0, 3, picture.shape)).clip(0, 255)
    return pictures, masks
