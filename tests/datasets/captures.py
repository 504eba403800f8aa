"""What the tests of motion capture files share: turns written out, and files with one fault."""

import numpy as np
import pytest

from gaitkeeper.errors import DataError


def fixed(x, y, z):
    """The turn about fixed axes x, then y, then z, by degrees, written out."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad([x, y, z])), np.sin(np.deg2rad([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ about_y @ about_x


def bad(old, new, message):
    return pytest.param(old, new, message, id=message[:30])


def check_refused(read, file, text, old, new, message):
    """Check that a file with one fault is refused by its name and the fault."""
    assert old in text
    file.write_bytes(text.replace(old, new).encode("latin1"))
    with pytest.raises(DataError, match=message) as error:
        read(file)
    assert str(file) in str(error.value)
