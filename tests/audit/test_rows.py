import pytest

from gaitkeeper.audit.rows import Rows
from gaitkeeper.errors import GaitkeeperError

ROW = {"model": "m", "cell": "c", "sample": "s", "value": 1}


def test_rows_survive_and_are_never_doubled(tmp_path):
    with Rows(tmp_path, {"a": 1}) as rows:
        rows.append([ROW, {**ROW, "sample": "t"}])
        rows.append([{**ROW, "value": 2}])
    with Rows(tmp_path, {"a": 1}) as rows:
        assert len(rows) == 2
        assert rows.get("m", "c", "s")["value"] == 1
        assert not rows.has("m", "c", "u")
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


def test_a_half_written_line_is_cut_off(tmp_path):
    with Rows(tmp_path, {}) as rows:
        rows.append([ROW])
    whole = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / "rows.jsonl").write_bytes(whole + whole[:17])
    with Rows(tmp_path, {}) as rows:
        assert len(rows) == 1
        rows.append([{**ROW, "sample": "t"}])
    with Rows(tmp_path, {}) as rows:
        assert len(rows) == 2


def test_other_settings_and_damaged_rows_are_refused(tmp_path):
    with Rows(tmp_path, {"a": 1}) as rows:
        rows.append([ROW])
    with pytest.raises(GaitkeeperError, match="other settings"):
        Rows(tmp_path, {"a": 2})
    (tmp_path / "rows.jsonl").write_text("[1, 2]\n")
    with pytest.raises(GaitkeeperError, match=r"rows.jsonl, line 1"):
        Rows(tmp_path, {"a": 1})
    (tmp_path / "file").write_text("")
    with pytest.raises(GaitkeeperError, match="found a file"):
        Rows(tmp_path / "file", {})
