"""Confidence intervals of shares and means."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, t


def wilson(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of values in [0, 1] and its Wilson score interval.

    For yes/no values this is the usual interval of a share. For values between (the share of a probe's galleries
    in which it was identified) it is conservative, because no distribution on [0, 1] with that mean has a larger
    variance than the yes/no one. Samples are taken as independent.

    Returns:
        mean, low, high; three NaN where there are no values.

    Reference:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n == 0:
        return (float("nan"),) * 3
    share = float(values.mean())
    z = float(norm.ppf(0.5 + level / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, float(max(0.0, min(share, centre - half))), float(min(1.0, max(share, centre + half)))


def student(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> tuple[float, float | None, float | None]:
    """Return the mean of values and its interval by Student's distribution. Samples are taken as independent.

    Returns:
        mean, low, high; the ends are None with fewer than two values, and without any the mean is NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2:
        return float(values.mean()) if n else float("nan"), None, None
    mean = float(values.mean())
    half = float(t.ppf(0.5 + level / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half
