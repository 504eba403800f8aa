import numpy as np
import pytest

from gaitkeeper.datasets.base import Sample, load_usable, to_motion
from gaitkeeper.datasets.export import sequence_folder, write_sequence
from gaitkeeper.datasets.folder import SilhouetteFolder, read_sequence
from gaitkeeper.datasets.protocols import CASIA_B, protocol_for
from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import align_sequence
from tests.figures import drawn_folder, drawn_person

WHO = Sample("001", "nm-01", 90)


def raw(frames=6):
    pictures = np.zeros((frames, 240, 320), np.uint8)
    for t in range(frames):
        pictures[t, 50:200, 100 + 9 * t : 140 + 9 * t] = 255
    return pictures


def test_written_sequences_are_read_back_bit_for_bit(tmp_path):
    frames = drawn_person(1, "nm-01", 90)
    folder = write_sequence(tmp_path, WHO, frames)
    assert min(f.name for f in folder.iterdir()) == "001-nm-01-090-001.png"
    assert np.array_equal(read_sequence(folder), frames)
    write_sequence(tmp_path, WHO, frames[:5])
    assert len(read_sequence(folder)) == 5
    assert sorted(p.name for p in folder.parent.iterdir()) == ["090"]


def test_aligned_pictures_of_64_columns_are_cut_and_raw_ones_aligned(tmp_path):
    frames = drawn_person(1, "nm-01", 90)
    wide = np.pad(frames, ((0, 0), (0, 0), (10, 10)))
    assert np.array_equal(read_sequence(write_sequence(tmp_path, WHO, wide)), frames)
    assert np.array_equal(read_sequence(write_sequence(tmp_path, WHO, raw())), align_sequence(raw())[0])


def damaged(tmp_path, change):
    folder = write_sequence(tmp_path, WHO, raw())
    change(folder, sorted(folder.glob("*.png")))
    return folder


def shorter(frames):
    import cv2

    return cv2.imencode(".png", frames)[1].tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, f: [x.unlink() for x in f], "found none"),
        (lambda d, f: f[1].write_bytes(f[1].read_bytes()[:-30]), "002.png: the picture is truncated"),
        (lambda d, f: f[1].write_bytes(b"GIF89a"), "002.png: expected a PNG"),
        (lambda d, f: f[1].write_bytes(b""), "found 0 bytes"),
        (lambda d, f: f[2].write_bytes(shorter(np.zeros((10, 10), np.uint8))), "of one size, found 10x10, 240x320"),
        (lambda d, f: [x.write_bytes(shorter(np.zeros((240, 320), np.uint8))) for x in f], "found 0 of 6"),
        (lambda d, f: [x.unlink() for x in f[1:]], "at least 5 frames with a person, found 1 of 1"),
        (
            lambda d, f: f[1].write_bytes(
                f[1].read_bytes()[:16] + (60000).to_bytes(4, "big") * 2 + f[1].read_bytes()[24:]
            ),
            "at most .* pixels, found 60000x60000",
        ),
    ],
)
def test_bad_sequences_are_refused_by_name(tmp_path, change, message):
    folder = damaged(tmp_path, change)
    with pytest.raises(DataError, match=message) as error:
        read_sequence(folder)
    assert str(folder) in str(error.value)


def test_a_picture_whose_middle_is_damaged_never_ends_in_a_traceback(tmp_path):
    folder = write_sequence(tmp_path, WHO, raw())
    file = sorted(folder.glob("*.png"))[0]
    data = bytearray(file.read_bytes())
    data[60:70] = b"\xff" * 10
    file.write_bytes(data)
    found = SilhouetteFolder(tmp_path).load([0])[0]
    assert file.name in str(found) if isinstance(found, DataError) else found.shape[1:] == (64, 44)


def test_folders_that_hold_no_data_are_refused(tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        SilhouetteFolder(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="found a file"):
        SilhouetteFolder(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="<subject>/<condition>/<view in degrees>"):
        SilhouetteFolder(tmp_path / "empty")
    drawn_folder(tmp_path / "data", subjects=2, views=(0,), takes=("nm-01",))
    with pytest.raises(DataError, match=r"no subject 009; it has 001"):
        SilhouetteFolder(tmp_path / "data", subjects=("001", "009"))


def test_usable_samples_go_on_and_the_others_are_listed(tmp_path):
    root = drawn_folder(tmp_path, subjects=2, views=(0, 90), takes=("nm-01",))
    for file in sequence_folder(root, WHO).glob("*.png"):
        file.unlink()
    data = SilhouetteFolder(root)
    skipped: list = []
    kept, arrays = load_usable(data, range(4), skipped)
    assert [data.samples[i].key for i in kept] == ["001/nm-01/000", "002/nm-01/000", "002/nm-01/090"]
    assert skipped[0][0] == "001/nm-01/090"
    motion = to_motion([arrays[0], arrays[1][:4]], [0, 90])
    assert motion.lengths.tolist() == [6, 4]
    assert motion.data.shape == (2, 6, 64, 44)
    assert (motion.data[1, 4:] == 0).all()


def test_casia_b_split_and_first_enrolled():
    samples = [Sample(s, c, v) for s in ("001", "002") for c in ("nm-01", "nm-05", "bg-02", "cl-01") for v in (0, 90)]
    gallery, probes = protocol_for(samples).split(samples)
    assert {samples[i].condition for i in gallery} == {"nm-01"}
    assert {name: len(found) for name, found in probes.items()} == {"NM": 4, "BG": 4, "CL": 4}
    assert protocol_for(samples).exclude_same_view
    plain = [Sample(s, c, 0) for s in ("ann", "bob") for c in ("a", "b", "c")]
    protocol = protocol_for(plain)
    assert not protocol.exclude_same_view
    gallery, probes = protocol.split(plain)
    assert [plain[i].key for i in gallery] == ["ann/a/000", "bob/a/000"]
    assert len(probes["all"]) == 4
    with pytest.raises(DataError, match="two enrolled subjects"):
        CASIA_B.split(samples[:8])
