import os
import pickle
import struct

import numpy as np
import pytest

from gaitkeeper.datasets.open import open_sequences
from gaitkeeper.datasets.opengait import MAX_BYTES, OpenGaitFolder, read_pickle
from gaitkeeper.errors import DataError
from gaitkeeper.synthetic.walkers import Walkers
from tests.datasets.hostile import HOSTILE, Calls
from tests.datasets.published import opengait


@pytest.fixture(scope="module")
def aligned() -> np.ndarray:
    return Walkers().silhouettes(1, "nm-01", [0, 90], frames=8)


def written(tmp_path, content) -> object:
    file = tmp_path / "090.pkl"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=4))
    return file


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("columns", [44, 64])
def test_pickles_of_every_protocol_give_the_array(tmp_path, aligned, protocol, columns):
    margin = (columns - 44) // 2
    stored = np.pad(aligned, ((0, 0), (0, 0), (0, 0), (margin, margin)))
    opengait(tmp_path, {("001", "nm-01", 0): stored[0], ("001", "bg-02", 90): stored[1]}, protocol=protocol)
    data = open_sequences(tmp_path)
    assert isinstance(data, OpenGaitFolder)
    assert [s.key for s in data.samples] == ["001/bg-02/090", "001/nm-01/000"]
    for found, expected in zip(data.load([0, 1]), aligned[::-1], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_names_of_numpy_before_version_2(tmp_path, aligned):
    old = pickle.dumps(aligned[0], protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in old
    np.testing.assert_array_equal(read_pickle(written(tmp_path, old)), aligned[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a >= 128,
        lambda a: (a >= 128).astype(np.float16),
        lambda a: (a >= 128).astype(np.float64),
        lambda a: (a >= 128).astype(">f4"),
        lambda a: np.asfortranarray(a >= 128),
        lambda a: np.asfortranarray(np.where(a >= 128, np.uint8(255), np.uint8(0))),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_types_and_orders_mean_the_same(tmp_path, aligned, change, protocol):
    file = written(tmp_path, pickle.dumps(change(aligned[0]), protocol=protocol))
    np.testing.assert_array_equal(read_pickle(file), np.where(aligned[0] >= 128, 255, 0))


def test_empty_frames_are_dropped(tmp_path, aligned):
    opengait(tmp_path, {("001", "nm-01", 0): np.insert(aligned[0], [0, 3], 0, axis=0)})
    np.testing.assert_array_equal(OpenGaitFolder(tmp_path).load([0])[0], aligned[0])


@pytest.mark.parametrize(("make", "name"), HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_that_would_run_something_are_refused_and_nothing_runs(tmp_path, make, name, protocol):
    trace = tmp_path / "trace"
    content = pickle.dumps(make(trace), protocol=protocol)
    file = written(tmp_path, content)
    with pytest.raises(DataError, match=rf"090\.pkl: the pickle asks for {name}, which no array needs"):
        read_pickle(file)
    assert not trace.exists()


def test_what_the_hostile_pickles_would_do(tmp_path):
    # That the tests above could fail: an ordinary reader leaves a trace.
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Calls(os.system, f"touch {trace}")))
    assert trace.exists()


def test_stand_ins_cannot_be_changed(tmp_path, aligned):
    # BUILD sets attributes on whatever is on the stack; here that would be a global.
    content = b"cnumpy\nndarray\n}Vcalls\nI1\nsb."
    with pytest.raises(DataError, match="it changes a global"):
        read_pickle(written(tmp_path, content))
    np.testing.assert_array_equal(read_pickle(written(tmp_path, aligned[0])), aligned[0])


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"
DTYPE = b"cnumpy\ndtype\n(Vu1\nI0\nI1\ntR(I3\nV|\nNNNI-1\nI-1\nI0\ntb"


def array_of(shape: bytes, raw: bytes) -> bytes:
    return RECONSTRUCT + b"(I1\n(" + shape + b"t" + DTYPE + b"I00\n" + raw + b"tb."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((9, 128, 128), np.uint8), r"\(frames, 64, 64\) or \(frames, 64, 44\), found \(9, 128, 128\)"),
        (np.zeros((9, 128, 88), np.uint8), r"found \(9, 128, 88\)"),
        (np.zeros((9, 44, 64), np.uint8), r"found \(9, 44, 64\)"),
        (np.zeros((64, 64), np.uint8), r"found \(64, 64\)"),
        (np.zeros((9, 3, 64, 64), np.uint8), r"found \(9, 3, 64, 64\)"),
        (np.array(None), "type uint8, bool or float, found 'O8'"),
        (np.full((0, 64, 44), None), "found 'O8'"),
        (np.full((9, 64, 44), None), "more than 1000 instructions"),
        (np.zeros((9, 64, 44), np.int64), "found 'i8'"),
        (np.zeros((9, 64, 44), np.complex64), "found 'c8'"),
        (np.zeros((9, 64, 44), [("a", "u1")]), "found 'V1'"),
        (np.full((9, 64, 44), np.nan), "expected finite values"),
        (np.full((9, 64, 44), np.inf, np.float32), "expected finite values"),
        (np.full((9, 64, 44), 255.0), "floats from 0 to 1, found 255 to 255"),
        (np.full((9, 64, 44), -0.5), "found -0.5 to -0.5"),
        ([1, 2, 3], "expected a pickled array, found list"),
        ({}, "found dict"),
        (np.uint8, "asks for numpy.uint8"),
        (np.uint8(3), "expected a pickled array, found int"),
        (b"", "not a pickle of an array"),
        (b"PK\x03\x04 a zip file", "not a pickle of an array"),
        (pickle.dumps(np.zeros((9, 64, 44), np.uint8))[:-100], "not a pickle of an array"),
        (RECONSTRUCT + b".", "found an array without contents"),
        (array_of(b"I1000000000000\nI64\nI64\n", b"C\x04abcd"), "expected 4096000000000000 bytes .* found 4"),
        (array_of(b"I5\nI64\nI44\n", b"N"), "expected 14080 bytes .* found no"),
        (array_of(b"I-5\nI64\nI44\n", b"C\x00"), r"found \(-5, 64, 44\)"),
        (array_of(b"I01\nI64\nI44\n", b"C\x00"), r"found \(True, 64, 44\)"),
        # Instructions that take memory before anything is read: a place to remember, and a buffer.
        (b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b".", "at place 4294967295"),
        (b"Np4294967295\n.", "at place 4294967295"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "not a pickle of an array"),
        (b"N" * 3000 + b".", "more than 1000 instructions"),
        (b"c_codecs\nencode\n(Vabc\nVlatin1\nt" + b"2R0" * 2, "not a pickle of an array"),
        (b"(" + b"c_codecs\nencode\nVabc\n\x85R" * 2 + b"l.", "found list"),
        (
            b"(c_codecs\nencode\np0\n0V" + b"a" * 99 + b"\np1\n0" + b"g0\ng1\n\x85R" * 9 + b"l.",
            "makes more bytes than the file",
        ),
        (b"c_codecs\nencode\n(Vabc\nVzlib\ntR.", "bytes in the encoding 'zlib'"),
        (b"Pabc\n.", "not a pickle of an array"),
    ],
)
def test_what_is_no_array_of_silhouettes_is_refused_by_name(tmp_path, content, message):
    file = written(tmp_path, content)
    with pytest.raises(DataError, match=message) as error:
        read_pickle(file)
    assert str(file) in str(error.value)


def test_large_files_are_refused_unread(tmp_path):
    file = tmp_path / "090.pkl"
    with file.open("wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match=f"at most {MAX_BYTES} bytes, found {MAX_BYTES + 1}"):
        read_pickle(file)


def test_several_pickles_in_a_folder(tmp_path, aligned):
    opengait(tmp_path, {("001", "nm-01", 0): aligned[0]})
    folder = tmp_path / "001" / "nm-01" / "000"
    (folder / "000-ratios.pkl").write_bytes(pickle.dumps(np.zeros(3)))
    data = OpenGaitFolder(tmp_path)
    np.testing.assert_array_equal(data.load([0])[0], aligned[0])
    (folder / "000.pkl").rename(folder / "000-aligned-sils.pkl")
    with pytest.raises(DataError, match=r"one named 000\.pkl, found 000-aligned-sils\.pkl, 000-ratios\.pkl"):
        raise data.load([0])[0]
    (folder / "000-ratios.pkl").unlink()
    np.testing.assert_array_equal(data.load([0])[0], aligned[0])
    (folder / "000-aligned-sils.pkl").unlink()
    with pytest.raises(DataError, match=r"000: expected a pickled array \(\.pkl\), found none"):
        raise data.load([0])[0]


def test_short_sequences_are_refused_and_others_go_on(tmp_path, aligned):
    opengait(tmp_path, {("001", "nm-01", 0): aligned[0][:4], ("002", "nm-01", 0): aligned[0]})
    short, good = open_sequences(tmp_path).load([0, 1])
    assert "000.pkl: expected at least 5 frames with a person, found 4 of 4" in str(short)
    np.testing.assert_array_equal(good, aligned[0])


def test_uint8_masks_of_0_and_1_are_refused(tmp_path, aligned):
    opengait(tmp_path, {("001", "nm-01", 0): aligned[0] // 255})
    assert "found only 0 and 1" in str(OpenGaitFolder(tmp_path).load([0])[0])
