"""Silhouettes: the alignment that the gait data sets use, binarization, energy images."""

import numpy as np

HEIGHT, WIDTH = 64, 44
"""Rows and columns of an aligned silhouette."""

MIN_MASS = 10_000
"""Least sum of 8-bit grey values of a usable raw silhouette (Chao et al. 2019, released preparation)."""


def align(mask: np.ndarray, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray | None:
    """Crop a silhouette to the person, scale to a fixed height and centre it.

    The rows that hold the person are resized to ``height`` (bicubic, ratio kept, so edges become grey) and
    a window of ``width`` columns is cut around the column that halves the mass. This is the preparation
    of CASIA-B in GaitSet and OpenGait, whose 64 columns are cut to 44 when loaded; both steps are one here.

    Args:
        mask: ``(rows, columns)`` uint8, 0 is background and 255 the person.

    Returns:
        ``(height, width)`` uint8, or None where the frame is dropped: hardly any foreground.

    Reference:
        Chao et al., "GaitSet", AAAI 2019, section 4.1.
    """
    import cv2

    if int(mask.sum(dtype=np.int64)) <= MIN_MASS:
        return None
    rows = np.flatnonzero(mask.any(axis=1))
    mask = mask[rows[0] : rows[-1] + 1]
    columns = max(1, int(mask.shape[1] * height / mask.shape[0]))
    person = cv2.resize(mask, (columns, height), interpolation=cv2.INTER_CUBIC)
    mass = person.sum(axis=0, dtype=np.int64).cumsum()
    centre = int(np.searchsorted(mass, mass[-1] / 2, side="right"))
    padded = np.pad(person, ((0, 0), (width, width)))
    left = centre + width - width // 2
    return padded[:, left : left + width]


def align_sequence(masks: np.ndarray, *, height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """Align every frame of a sequence and drop the unusable ones.

    Args:
        masks: ``(frames, rows, columns)`` uint8.

    Returns:
        The aligned silhouettes ``(kept, height, width)`` uint8 and the indices of the frames kept.
    """
    aligned = [align(mask, height=height, width=width) for mask in masks]
    kept = np.array([i for i, frame in enumerate(aligned) if frame is not None], dtype=np.int64)
    frames = [frame for frame in aligned if frame is not None]
    if not frames:
        return np.zeros((0, height, width), np.uint8), kept
    return np.stack(frames), kept


def energy_image(silhouettes: np.ndarray) -> np.ndarray:
    """Return the gait energy image, the mean over frames: ``(frames, h, w)`` -> ``(h, w)`` float32 in [0, 1].

    Reference:
        Han and Bhanu, "Individual recognition using gait energy image", PAMI 2006, equation 1.
    """
    return silhouettes.mean(axis=0, dtype=np.float32) / np.float32(255)
