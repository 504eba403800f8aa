import os
import shutil
import zlib

import cv2
import numpy as np
import pytest

from gaitkeeper.datasets.base import Sample, load_usable
from gaitkeeper.datasets.casia_a import CasiaAFolder
from gaitkeeper.datasets.folder import MAX_BYTES, SilhouetteFolder
from gaitkeeper.datasets.open import open_sequences
from gaitkeeper.datasets.opengait import OpenGaitFolder
from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import align_sequence
from tests.datasets.published import casia_a, casia_b, opengait, write_pictures

PUBLISHED = {SilhouetteFolder: casia_b, CasiaAFolder: casia_a}


@pytest.mark.parametrize("reader", PUBLISHED)
def test_published_pictures_are_read_as_alignment_of_their_masks(tmp_path, reader):
    masks = PUBLISHED[reader](tmp_path)
    data = open_sequences(tmp_path)
    assert type(data) is reader
    assert data.biometric
    assert sorted(data.samples) == [Sample(*key) for key in sorted(masks)]
    for sample, found in zip(data.samples, data.load(range(len(data.samples))), strict=True):
        expected, kept = align_sequence(masks[sample.subject, sample.condition, sample.view])
        assert len(kept) == 7
        np.testing.assert_array_equal(found, expected)


def test_names_and_sizes_of_the_written_trees_are_the_published_ones(tmp_path):
    casia_b(tmp_path / "b", frames=5)
    casia_a(tmp_path / "a", frames=5)
    for file, size in (
        ("b/001/nm-01/000/001-nm-01-000-001.png", (240, 320)),
        ("a/fyc/00_1/fyc-00_1-001.png", (240, 352)),
    ):
        picture = cv2.imread(str(tmp_path / file), cv2.IMREAD_UNCHANGED)
        assert picture.shape == size
        assert set(np.unique(picture)) == {0, 255}


@pytest.mark.parametrize("columns", [44, 64])
def test_aligned_forms_are_the_same_in_all_layouts(tmp_path, columns):
    aligned, _ = align_sequence(next(iter(casia_b(tmp_path / "raw", subjects=(1,), conditions=("nm-01",)).values())))
    margin = (columns - 44) // 2
    stored = np.pad(aligned, ((0, 0), (0, 0), (margin, margin)))
    write_pictures(tmp_path / "b" / "001" / "nm-01" / "000", "frame", stored)
    write_pictures(tmp_path / "a" / "fyc" / "45_2", "frame", stored)
    opengait(tmp_path / "o", {("001", "nm-01", 0): stored})
    for name in "bao":
        np.testing.assert_array_equal(open_sequences(tmp_path / name).load([0])[0], aligned)


def test_subjects_and_views_that_are_asked_for(tmp_path):
    casia_b(tmp_path / "b", frames=5)
    shutil.rmtree(tmp_path / "b" / "002" / "nm-01" / "090")
    some = open_sequences(tmp_path / "b", subjects=("002",), views=(90,))
    assert [s.key for s in some.samples] == ["002/cl-02/090"]
    with pytest.raises(DataError, match=r"no subject 009, 7; it has 001, 002$"):
        open_sequences(tmp_path / "b", subjects=("001", "009", "7"))
    with pytest.raises(DataError, match="no view 18; it has 0, 90"):
        open_sequences(tmp_path / "b", views=(0, 18))
    shutil.rmtree(tmp_path / "b" / "002" / "cl-02" / "090")
    with pytest.raises(DataError, match="have no sequence in the views"):
        open_sequences(tmp_path / "b", subjects=("002",), views=(90,))
    casia_a(tmp_path / "a", frames=5)
    assert [s.key for s in open_sequences(tmp_path / "a", subjects=("hy",), views=(0,)).samples] == [
        "hy/1/000",
        "hy/4/000",
    ]


def test_good_sequences_go_on_and_bad_ones_are_named(tmp_path):
    masks = casia_b(tmp_path, subjects=(1,), conditions=("nm-01", "nm-02", "nm-03"))
    nm1, nm2, nm3 = (tmp_path / "001" / f"nm-0{i}" for i in (1, 2, 3))
    for file in (nm1 / "000").iterdir():
        file.unlink()
    whole = (nm1 / "090" / "001-nm-01-090-004.png").read_bytes()
    (nm1 / "090" / "001-nm-01-090-004.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(nm2 / "000" / "001-nm-02-000-003.png"), masks["001", "nm-02", 0][2, :120])
    damaged = bytearray((nm2 / "090" / "001-nm-02-090-002.png").read_bytes())
    damaged[len(damaged) // 2] ^= 0x40
    (nm2 / "090" / "001-nm-02-090-002.png").write_bytes(damaged)
    for number in (4, 5, 6, 7):
        (nm3 / "000" / f"001-nm-03-000-{number:03d}.png").unlink()
    # Another size, but of all pictures; a hidden file, as Macs leave them in archives.
    larger = np.pad(masks["001", "nm-03", 90], ((0, 0), (30, 30), (9, 9)))
    for file, mask in zip(sorted((nm3 / "090").iterdir()), larger, strict=True):
        cv2.imwrite(str(file), mask)
    (nm3 / "090" / "._001-nm-03-090-001.png").write_bytes(b"\0")
    data = open_sequences(tmp_path)
    skipped: list = []
    kept, arrays = load_usable(data, range(6), skipped)
    assert [data.samples[i].key for i in kept] == ["001/nm-03/090"]
    np.testing.assert_array_equal(arrays[0], align_sequence(larger)[0])
    reasons = dict(skipped)
    assert reasons["001/nm-01/000"] == f"{nm1 / '000'}: expected PNG files, found none"
    assert "001-nm-01-090-004.png: the picture is truncated" in reasons["001/nm-01/090"]
    assert "pictures of one size, found 120x320, 240x320 (frames 1 and 3)" in reasons["001/nm-02/000"]
    assert "001-nm-02-090-002.png: the picture is damaged" in reasons["001/nm-02/090"]
    assert "at least 5 frames with a person, found 3 of 3" in reasons["001/nm-03/000"]


def header(columns: int, rows: int, data: bytes) -> bytes:
    """A PNG file whose header says another size, with checksums that hold."""
    chunk = b"IHDR" + columns.to_bytes(4, "big") + rows.to_bytes(4, "big") + data[24:29]
    return data[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.write_bytes(header(60000, 60000, file.read_bytes())), "at most .* found 60000x60000"),
        (lambda file: file.write_bytes(header(0, 240, file.read_bytes())), "cannot be decoded"),
        (lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)), "checksum at byte 8"),
        (lambda file: file.write_bytes(b"not a picture"), "expected a PNG picture, found 13 bytes"),
        (lambda file: (file.unlink(), file.mkdir()), "expected a file, found something else"),
        (lambda file: (file.unlink(), file.symlink_to("nowhere")), "expected a file, found nothing"),
        (lambda file: os.truncate(file, MAX_BYTES + 1), f"at most {MAX_BYTES} bytes, found {MAX_BYTES + 1}"),
    ],
)
def test_unreadable_pictures_are_named(tmp_path, change, message):
    casia_a(tmp_path, names=("fyc",), walks=("90_1",))
    file = tmp_path / "fyc" / "90_1" / "fyc-90_1-005.png"
    change(file)
    with pytest.raises(DataError, match=message) as error:
        raise open_sequences(tmp_path).load([0])[0]
    assert str(file) in str(error.value)


def test_masks_of_0_and_1_are_refused(tmp_path):
    masks = next(iter(casia_b(tmp_path / "b", subjects=(1,), conditions=("nm-01",), views=(90,)).values()))
    write_pictures(tmp_path / "ones" / "001" / "nm-01" / "090", "frame", masks // 255)
    with pytest.raises(DataError, match="090: expected grey values from 0 to 255, found only 0 and 1"):
        raise open_sequences(tmp_path / "ones").load([0])[0]


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    masks = next(iter(casia_b(tmp_path / "b", subjects=(1,), conditions=("nm-01",), views=(90,), frames=12).values()))
    folder = tmp_path / "own" / "ann" / "a" / "90"
    folder.mkdir(parents=True)
    for number, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"frame{number}.png"), mask)
    np.testing.assert_array_equal(SilhouetteFolder(tmp_path / "own").load([0])[0], align_sequence(masks)[0])


def test_folders_in_no_layout_are_refused_with_all_three(tmp_path):
    (tmp_path / "001" / "nm-01" / "side").mkdir(parents=True)
    (tmp_path / "001" / "nm-01" / "090").mkdir()
    (tmp_path / "001" / "nm-01" / "090" / "readme.txt").write_text("")
    (tmp_path / "fyc" / "30_1").mkdir(parents=True)
    (tmp_path / "fyc" / "90_1").mkdir(parents=True)
    for asked in ({}, {"subjects": ("001",)}):
        with pytest.raises(DataError, match=r"<view in degrees>/ of PNG.*<take>/ of PNG.*\.pkl.*found none") as error:
            open_sequences(tmp_path, **asked)
        assert all(name in str(error.value) for name in (str(tmp_path), "CASIA-B", "CASIA-A", "OpenGait"))
    with pytest.raises(DataError, match="found nothing"):
        open_sequences(tmp_path / "none")
    with pytest.raises(DataError, match="found a file"):
        open_sequences(tmp_path / "001" / "nm-01" / "090" / "readme.txt")


@pytest.mark.parametrize("reader", [SilhouetteFolder, CasiaAFolder, OpenGaitFolder])
def test_each_reader_says_what_it_expects(tmp_path, reader):
    with pytest.raises(DataError, match=r"expected folders <subject>/.*, found none"):
        reader(tmp_path)


def test_two_folders_of_one_sample_are_refused(tmp_path):
    casia_b(tmp_path, subjects=(1,), conditions=("nm-01",), views=(0,))
    (tmp_path / "001" / "nm-01" / "0").mkdir()
    with pytest.raises(DataError, match=r"000: expected one folder of 001/nm-01/000, found .*nm-01/0 too"):
        SilhouetteFolder(tmp_path)
