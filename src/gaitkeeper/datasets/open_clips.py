"""Opening action clips in whichever published form they are."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from gaitkeeper.datasets import clip_files, cmu, hdm05, kinetics, mhad, ntu, st_gcn_arrays, ucla
from gaitkeeper.datasets.clip_files import ClipFiles
from gaitkeeper.datasets.clips import Clips
from gaitkeeper.datasets.ntu_arrays import NtuArrays
from gaitkeeper.datasets.pyskl import Pyskl
from gaitkeeper.datasets.stored import Split
from gaitkeeper.errors import DataError

HDM05_PROTOCOLS = {"hdm05-11": hdm05.CLASSES_11, "hdm05-65": hdm05.CLASSES_65}
"""Sets of HDM05's classes by name."""

CMU_LABELS = "labels.csv"
"""Name of the list of labels that is looked for in a folder of CMU's trials."""

_MAX_LISTED = 1000
"""Most files that are counted for a message."""


def open_clips(path: Path, *, split: Split = "test", protocol: str | None = None) -> Clips:
    """Open action clips: a file of arrays, or a folder, which the first file in it of a known name tells.

    ======================================  =====================================================
    ``.npz``                                NTU RGB+D as CTR-GCN has it
    ``clips.json``                          a folder that ``gaitkeeper attack`` wrote
    ``.pkl``                                annotations and splits of pyskl and mmaction2
    ``*_data.npy``, ``*_data_joint.npy``    NTU RGB+D as ST-GCN and 2s-AGCN have it; also a folder of these
    ``kinetics_*_label.json``               a folder of Kinetics-skeleton
    ``HDM_<actor>_..._120.amc``             a folder of HDM05
    ``SsssCcccPpppRrrrAaaa.skeleton``       a folder of NTU RGB+D
    ``skl_sSS_aAA_rRR.bvh``                 a folder of Berkeley MHAD
    ``aAA_sSS_eEE_vVV.json``                a folder of Northwestern-UCLA
    ``<subject>_<trial>.amc``               a folder of CMU's trials, with their classes in ``labels.csv``
    ======================================  =====================================================

    Args:
        path: the file or folder.
        split: by the published split; ``all`` where a form keeps both in files of their own is refused, and anything
            but ``all`` for CMU's trials, which have no split.
        protocol: which of several published splits or sets of classes; None takes the first. ``ntu-60-xsub``,
            ``ntu-60-xview``, ``ntu-120-xsub`` or ``ntu-120-xset`` for NTU RGB+D; ``xsub``, ``xview`` or ``xset``, or
            whatever the file has, for pyskl; ``hdm05-11`` or ``hdm05-65`` for HDM05.

    Raises:
        DataError: nothing is there, or in none of these forms; the form has no such split or protocol; or all that its
            reader refuses.
    """
    if path.is_file():
        kinds = {".npz": _npz, ".npy": _npy, ".pkl": _pickle}
        if path.suffix.lower() not in kinds:
            raise DataError(f"{path}: expected a file {', '.join(kinds)} or a folder of clips, found another file")
        return kinds[path.suffix.lower()](path, split, protocol)
    if not path.is_dir():
        raise DataError(f"{path}: expected a file or folder of clips, found nothing")
    for file in _files(path):
        for pattern, opener in _FOLDERS.items():
            if pattern.fullmatch(file):
                return opener(path, split, protocol)
    counts = Counter(Path(file).suffix.lower() or "no ending" for file in islice(_files(path), _MAX_LISTED))
    found = ", ".join(f"{count} of {ending}" for ending, count in counts.most_common(5)) or "no files"
    hint = "; name the file itself" if {".npz", ".pkl"} & set(counts) else ""
    raise DataError(
        f"{path}: expected takes of HDM05 or CMU (.amc), .skeleton files of NTU RGB+D, Berkeley MHAD's "
        f"skl_sSS_aAA_rRR.bvh, Northwestern-UCLA's aAA_sSS_eEE_vVV.json, Kinetics-skeleton or "
        f"{{train,val}}_data.npy, or clips.json with what gaitkeeper attack wrote; found {found}{hint}"
    )


def _files(path: Path) -> Iterator[str]:
    """Yield the names of all files below a folder, a folder at a time, by name."""
    for _, folders, files in os.walk(path):
        folders.sort()
        yield from sorted(files)


def _half(path: Path, split: Split) -> Literal["train", "test"]:
    if split == "all":
        raise DataError(f"{path}: training and test clips are apart here: expected the split train or test, got all")
    return split


def _only(path: Path, protocol: str | None) -> None:
    if protocol is not None:
        raise DataError(f"{path}: these clips have one published split only: expected no protocol, got {protocol!r}")


def _npz(path: Path, split: Split, protocol: str | None) -> Clips:
    _only(path, protocol)
    return NtuArrays(path, split=_half(path, split))


def _npy(path: Path, split: Split, protocol: str | None) -> Clips:
    _only(path, protocol)
    return st_gcn_arrays.StGcnArrays(path, split=_half(path, split))


def _pickle(path: Path, split: Split, protocol: str | None) -> Clips:
    part = "train" if _half(path, split) == "train" else "val"
    return Pyskl(path, split=f"{protocol or 'xsub'}_{part}")


def _kinetics(path: Path, split: Split, protocol: str | None) -> Clips:
    _only(path, protocol)
    return kinetics.Kinetics(path, split=_half(path, split))


def _hdm05(path: Path, split: Split, protocol: str | None) -> Clips:
    if protocol is not None and protocol not in HDM05_PROTOCOLS:
        raise DataError(f"{path}: expected the protocol {' or '.join(HDM05_PROTOCOLS)}, got {protocol!r}")
    return hdm05.Hdm05(path, split=split, classes=HDM05_PROTOCOLS[protocol or "hdm05-11"])


def _ntu(path: Path, split: Split, protocol: str | None) -> Clips:
    if protocol is not None and protocol not in ntu.PROTOCOLS:
        raise DataError(f"{path}: expected the protocol {' or '.join(ntu.PROTOCOLS)}, got {protocol!r}")
    return ntu.Ntu(path, split=split, protocol=ntu.PROTOCOLS[protocol or ntu.X_SUB_60.name])


def _mhad(path: Path, split: Split, protocol: str | None) -> Clips:
    _only(path, protocol)
    return mhad.Mhad(path, split=split)


def _ucla(path: Path, split: Split, protocol: str | None) -> Clips:
    _only(path, protocol)
    return ucla.Ucla(path, split=split)


def _cmu(path: Path, split: Split, protocol: str | None) -> Clips:
    _only(path, protocol)
    if split != "all":
        raise DataError(f"{path}: CMU's trials have no published split: expected the split all, got {split}")
    labels = path / CMU_LABELS
    return cmu.Cmu(path, labels=labels if labels.is_file() else None)


def _written(path: Path, split: Split, protocol: str | None) -> Clips:
    if split == "train":
        raise DataError(f"{path}: clips that were written by this package are for tests only")
    return ClipFiles(path)


_FOLDERS: dict[re.Pattern[str], Callable[[Path, Split, str | None], Clips]] = {
    clip_files.FILE: _written,
    st_gcn_arrays.FILE: _npy,
    kinetics.FILE: _kinetics,
    hdm05.FILE: _hdm05,
    ntu.FILE: _ntu,
    mhad.FILE: _mhad,
    ucla.FILE: _ucla,
    cmu.FILE: _cmu,
}
