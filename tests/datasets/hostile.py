"""Pickles that ask for more than an array: what an ordinary reader would run."""

import builtins
import os
import subprocess

import numpy as np


class Calls:
    """Something whose pickle makes an ordinary reader call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = [
    (lambda file: Calls(os.system, f"touch {file}"), r"(posix|nt)\.system"),
    (lambda file: Calls(builtins.eval, f"open({str(file)!r}, 'w')"), r"(builtins|__builtin__)\.eval"),
    (lambda file: Calls(builtins.open, str(file), "w"), r"(_)?io\.open"),
    (lambda file: Calls(subprocess.check_call, ["touch", str(file)]), r"(subprocess|commands)\.check_call"),
    (lambda file: [np.zeros((5, 64, 44), np.uint8), Calls(os.system, f"touch {file}")], r"(posix|nt)\.system"),
    (lambda file: Calls(np.load, str(file)), r"numpy\.load"),
    (lambda file: Calls(getattr, "", "join"), r"(builtins|__builtin__)\.getattr"),
]
"""What asks for something else than an array, and by which name."""
