import http.client
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from gaitkeeper.audit.study import DATABASE, study
from gaitkeeper.audit.study_clips import open_study_clips
from gaitkeeper.audit.study_server import StudyServer
from gaitkeeper.audit.study_store import ALPHABET, Store, shown_code
from gaitkeeper.datasets import clip_files
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.perception.video import read_clip, write_clip
from tests.browser import Browser
from tests.figures import drawn_folder

FORM = "application/x-www-form-urlencoded"


def video(file, shade, frames=6):
    """Write a bar that moves to the right."""
    pictures = np.zeros((frames, 48, 64, 3), np.uint8)
    for t, picture in enumerate(pictures):
        picture[6:44, 4 + 6 * t : 16 + 6 * t] = (shade, 200 - shade, 90)
    write_clip(file, pictures, fps=30)


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("original/a", "original/b", "swapped/a", "swapped/b")):
        video(folder / f"{name}.mp4", 40 * number)
    return folder


@pytest.fixture(scope="session")
def clips(clips_folder, tmp_path_factory):
    return open_study_clips([clips_folder], tmp_path_factory.mktemp("rendered"))


@contextmanager
def served(clips, database, **options):
    store = Store.of(database, clips, seed=0)
    with StudyServer(clips, store, **options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Client:
    """One browser's worth of requests, with its cookie and the proof of its forms."""

    def __init__(self, port):
        self.port = port
        self.host = f"127.0.0.1:{self.port}"
        self.cookie, self.proof = "", ""

    def ask(self, method, path, form=None, *, headers=None, body=None):
        sent = {"Host": self.host, "Cookie": self.cookie} | (headers or {})
        if form is not None:
            body = urllib.parse.urlencode({"proof": self.proof} | form)
            sent = {"Content-Type": FORM} | sent
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            content = answer.read()
        if cookie := answer.headers.get("Set-Cookie"):
            self.cookie = cookie.partition(";")[0]
        if found := re.search(rb'name="proof" value="([0-9a-f]+)"', content):
            self.proof = found[1].decode()
        return answer, content

    def get(self, path="/", **options):
        return self.ask("GET", path, **options)

    def post(self, path, **form):
        return self.ask("POST", path, form)

    def begin(self):
        self.get()
        assert self.post("/consent", consent="yes")[0].status == 303
        _, page = self.get()
        return re.search(rb'class="code">([A-Z0-9-]+)<', page)[1].decode()


def rows(database, query):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


# What is shown.


def test_videos_are_of_the_condition_that_their_folder_names(clips_folder, clips):
    assert [(clip.condition, clip.view, clip.video.parent.name) for clip in clips] == [
        *[("original", "", "original")] * 2,
        *[("swapped", "", "swapped")] * 2,
    ]
    assert len({clip.digest for clip in clips}) == 4
    (only,) = open_study_clips([clips_folder / "swapped" / "a.mp4"], Path("unused"))
    assert only == clips[2]


def test_a_tree_of_walkers_tells_views(tmp_path):
    for view in ("000", "090"):
        video(tmp_path / "replaced" / "085" / "nm-05" / view / "video.mp4", int(view))
    found = open_study_clips([tmp_path / "replaced"], tmp_path)
    assert [(clip.condition, clip.view) for clip in found] == [("replaced", "0"), ("replaced", "90")]


def test_a_list_tells_condition_and_view(clips_folder, tmp_path):
    shutil.copytree(clips_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "clips.csv").write_text("\ufefffile,condition,view\noriginal/a.mp4,natural,36\nswapped/b.mp4,ours,\n")
    found = open_study_clips([tmp_path], tmp_path)
    assert [(clip.condition, clip.view, clip.video.name) for clip in found] == [
        ("natural", "36", "a.mp4"),
        ("ours", "", "b.mp4"),
    ]
    assert found == open_study_clips([tmp_path / "clips.csv"], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,view\na,b\n", "clips.csv: expected the columns file, condition and view, found file, view"),
        ("", "clips.csv: expected the columns file, condition and view, found none"),
        ("file,condition\n../secret.mp4,a\n", "line 2: expected a file below .*, found '../secret.mp4'"),
        ("file,condition\n/etc/passwd,a\n", "line 2: expected a file below .*, found '/etc/passwd'"),
        ("file,condition\nnone.mp4,a\n", "line 2: expected a video or a folder of silhouettes, found nothing at"),
        ("file,condition\nx.mp4,\n", "line 2: expected a file and a condition, found 'x.mp4' and ''"),
        ("file,condition\nclips.csv,a\n", "clips.csv: expected a video .mp4, which every browser plays, found '.csv'"),
        (b"file,condition\n\xff,a\n", "clips.csv: expected a list of clips, found no CSV in UTF-8"),
    ],
)
def test_a_bad_list_is_refused(tmp_path, text, message):
    folder = tmp_path / "clips"
    folder.mkdir()
    video(tmp_path / "secret.mp4", 0)
    (folder / "clips.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        open_study_clips([folder], tmp_path)


def test_attacked_silhouettes_are_shown_enlarged(tmp_path):
    drawn_folder(tmp_path / "pgd" / "attacked", subjects=2, takes=("nm-05",))
    (tmp_path / "rendered").mkdir()
    found = open_study_clips([tmp_path / "pgd"], tmp_path / "rendered")
    assert [(clip.condition, clip.view) for clip in found] == [("pgd", "0"), ("pgd", "90")] * 2
    played = read_clip(found[0].video)
    assert played.frames.shape == (6, 384, 264, 3)
    assert played.fps == 25
    assert np.isin(played.frames[:, 3::6, 3::6].round(-1) // 60, (0, 4)).mean() > 0.98


def test_attacked_actions_are_drawn_the_same_whatever_was_done(tmp_path):
    rng = np.random.default_rng(0)
    # A name by itself tells nothing of what was done: the folder above it does.
    for run in ("smart", "control"):
        joints = rng.normal(0, 0.4, (1, 8, len(NTU_25), 3)).astype(np.float32)
        clip_files.write_clip(tmp_path / run / "attacked", "s1/wave", joints)
        listed = [{"key": "s1/wave", "label": 0, "subject": "1", "fps": 15}]
        clip_files.write_index(
            tmp_path / run / "attacked", listed, name="x", layout=NTU_25, classes=["wave"], biometric=False
        )
    (tmp_path / "rendered").mkdir()
    found = open_study_clips([tmp_path / "smart", tmp_path / "control" / "attacked"], tmp_path / "rendered")
    assert [clip.condition for clip in found] == ["smart", "control"]
    played = [read_clip(clip.video) for clip in found]
    assert [len(clip) for clip in played] == [8, 8]
    assert played[0].fps == 15
    for clip in played:
        # Grey figures on light paper: no color tells what was attacked.
        assert np.ptp(clip.frames.astype(int), axis=3).max() < 40
        assert clip.frames.min() < 140


def test_so_many_of_each_condition_are_drawn(clips_folder, tmp_path):
    drawn = [open_study_clips([clips_folder], tmp_path, per_condition=1, seed=seed) for seed in range(8)]
    assert all([clip.condition for clip in one] == ["original", "swapped"] for one in drawn)
    assert len({tuple(clip.digest for clip in one) for one in drawn}) > 1
    assert drawn[0] == open_study_clips([clips_folder], tmp_path, per_condition=1, seed=0)


def test_clips_that_cannot_be_shown_are_refused(clips_folder, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video at all")
    (tmp_path / "a.avi").write_bytes(b"RIFF")
    shutil.copytree(clips_folder / "original", tmp_path / "twice")
    shutil.copy(tmp_path / "twice" / "a.mp4", tmp_path / "twice" / "c.mp4")
    shutil.copytree(clips_folder / "original", tmp_path / "other" / "original")
    for paths, message in [
        ([tmp_path / "a.mp4"], r"a\.mp4: expected an MP4 file, found other content"),
        ([tmp_path / "a.avi"], r"a\.avi: expected a video \.mp4, which every browser plays, found '\.avi'"),
        ([tmp_path / "none"], "none: expected a video .mp4, a list .csv or a folder of clips, found nothing"),
        ([], "expected clips for a study, got none"),
        ([tmp_path / "twice"], r"c\.mp4: expected other clips, found that this one is in 'twice' twice"),
        ([clips_folder, tmp_path / "other"], "expected a condition of its own, found 'original' as in"),
    ]:
        with pytest.raises(DataError, match=message):
            open_study_clips(paths, tmp_path)
    with pytest.raises(DataError, match="expected at least 1 clip a condition, got 0"):
        open_study_clips([clips_folder], tmp_path, per_condition=0)


# What is stored.


def test_orders_differ_between_participants_and_stay(clips, tmp_path):
    store = Store.of(tmp_path / "r", clips, seed=3)
    codes = [store.enroll().code for _ in range(12)]
    orders = [store.order(code) for code in codes]
    assert all(sorted(order) == [1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 4
    assert [Store(tmp_path / "r").order(code) for code in codes] == orders
    assert len(set(codes)) == 12
    assert all(set(code) <= set(ALPHABET) and len(code) == 8 for code in codes)


def test_a_rating_can_be_changed_until_the_end(clips, tmp_path):
    store = Store.of(tmp_path / "r", clips, seed=0)
    code = store.enroll().code
    store.rate(code, 1, 2)
    store.rate(code, 1, 5)
    assert store.participant(f" {shown_code(code).lower()} ").ratings == {1: 5}
    store.finish(code)
    with pytest.raises(DataError, match="expected a participant who has not finished"):
        store.rate(code, 1, 1)
    assert store.participant(code).ratings == {1: 5}
    assert store.participant(code).finished


def test_only_scores_of_clips_by_participants_are_stored(clips, tmp_path):
    store = Store.of(tmp_path / "r", clips, seed=0)
    code = store.enroll().code
    for clip, score in ((1, 0), (1, 6), (5, 3)):
        with pytest.raises(DataError, match=f"expected a score from 1 to 5 of a clip of the study, got {score}"):
            store.rate(code, clip, score)
    with pytest.raises(DataError, match="expected a participant"):
        store.rate("NOBODY22", 1, 3)
    assert rows(tmp_path / "r", "SELECT * FROM ratings") == []


def test_who_withdraws_leaves_nothing(clips, tmp_path):
    store = Store.of(tmp_path / "r", clips, seed=0)
    stays, goes = store.enroll().code, store.enroll().code
    for code in (stays, goes):
        store.rate(code, 1, 4)
    store.withdraw(goes)
    assert store.participant(goes) is None
    assert len(rows(tmp_path / "r", "SELECT * FROM ratings")) == 1
    left = b"".join(file.read_bytes() for file in tmp_path.glob("r*"))
    assert stays.encode() in left
    assert goes.encode() not in left


def test_another_study_is_not_written_into(clips, tmp_path):
    Store.of(tmp_path / "r", clips, seed=0)
    assert Store.of(tmp_path / "r", clips, seed=0).seed == 0
    for other, seed in ((clips[:3], 0), (clips, 1)):
        message = f"expected the study of these {len(other)} clips with seed {seed}, found one of 4 with seed 0"
        with pytest.raises(DataError, match=message):
            Store.of(tmp_path / "r", other, seed=seed)
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(DataError, match="text: expected the database of a study"):
        Store(tmp_path / "text")
    with closing(sqlite3.connect(tmp_path / "other")) as database:
        database.execute("CREATE TABLE study (seed)")
    with pytest.raises(DataError, match="other: expected the database of a study, found another one"):
        Store(tmp_path / "other")
    with pytest.raises(DataError, match="cannot be made"):
        Store.of(tmp_path / "text" / "r", clips, seed=0)


# What is served.


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", ""])
def test_only_this_machine_is_served(clips, tmp_path, host):
    with pytest.raises(DataError, match="expected an address of this machine only"):
        StudyServer(clips, Store.of(tmp_path / "r", clips, seed=0), host=host)


def test_a_port_that_is_taken_is_told(clips, tmp_path):
    with served(clips, tmp_path / "r") as server, pytest.raises(DataError, match="the study cannot be served there"):
        StudyServer(clips, server.store, port=server.server_address[1])
    with pytest.raises(DataError, match=r"127\.0\.0\.1:70000: the study cannot be served there"):
        StudyServer(clips, server.store, port=70000)


def test_the_rater_sees_neither_names_nor_conditions(clips, tmp_path):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        client.begin()
        seen = b"".join(
            str(answer.headers).encode() + (b"" if path.startswith("/media") else content)
            for path in ("/", "/clip/1", "/media/1", "/study.js", "/study.css")
            for answer, content in [client.get(path)]
        )
    assert not any(word in seen for word in (b"original", b"swapped", b".mp4", str(tmp_path).encode()))
    assert not any(clip.digest[:8].encode() in seen for clip in clips)


def test_pages_ask_no_network_and_run_nothing_foreign(clips, tmp_path):
    with served(clips, tmp_path / "r", contact="<b>desk</b>") as server:
        client = Client(server.server_address[1])
        answer, page = client.get()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert answer.headers["Server"].strip() == "gaitkeeper"
    assert b"&lt;b&gt;desk" in page
    assert not re.search(rb'(?:src|href|action)="(?!/|data:,)', page)


@pytest.mark.parametrize(
    "path",
    [
        *("/media/2", "/media/0", "/media/99999999", "/clip/2", "/clip/-1", "/media/1/", "/nothing"),
        *("/../../etc/passwd", "/media/..%2f..%2fetc%2fpasswd", "/study.html", "/media//etc/passwd", "/ratings.sqlite"),
    ],
)
def test_there_is_nothing_else(clips, tmp_path, path):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        client.begin()
        answer, page = client.get(path)
    assert answer.status == 404
    assert b"root:" not in page


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil", "", "["]
)
def test_other_names_of_this_machine_are_refused(clips, tmp_path, host):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        client.get()
        for method, form in (("GET", None), ("POST", {"consent": "yes"})):
            answer, page = client.ask(method, "/consent" if form else "/", form, headers={"Host": host})
            assert answer.status == 403
            assert b"This page is for this machine only." in page
            assert "Set-Cookie" not in answer.headers
        assert client.get(headers={"Host": f"localhost:{client.port}"})[0].status == 200
        assert client.get(headers={"Host": "localhost:9999"})[0].status == 200
    assert rows(tmp_path / "r", "SELECT * FROM participants") == []


def test_forms_of_other_sites_are_refused(clips, tmp_path):
    with served(clips, tmp_path / "r") as server:
        client, other = Client(server.server_address[1]), Client(server.server_address[1])
        client.get()
        other.get()
        own = client.proof
        for proof in ("", "0" * 64, other.proof, "é"):
            client.proof = proof
            assert client.post("/consent", consent="yes")[0].status == 403
        client.proof = own
        for origin in ("http://evil.example", "null"):
            answer, _ = client.ask("POST", "/consent", {"consent": "yes"}, headers={"Origin": origin})
            assert answer.status == 403
        assert rows(tmp_path / "r", "SELECT * FROM participants") == []
        answer, _ = client.ask("POST", "/consent", {"consent": "yes"}, headers={"Origin": f"http://{client.host}"})
        assert answer.status == 303
    assert len(rows(tmp_path / "r", "SELECT * FROM participants")) == 1


def test_forms_are_bounded(clips, tmp_path):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        client.get()
        for headers, body, status in [
            ({"Content-Type": FORM, "Content-Length": "4097"}, None, 413),
            ({"Content-Type": FORM, "Content-Length": "1e3"}, None, 411),
            ({"Content-Type": FORM, "Content-Length": "-1"}, None, 411),
            ({"Content-Type": "application/json"}, "{}", 415),
            ({"Content-Type": FORM}, "&".join(f"a{i}=1" for i in range(17)), 400),
        ]:
            assert client.ask("POST", "/consent", headers=headers, body=body)[0].status == status
        assert client.ask("PUT", "/", body="x")[0].status == 501
        assert client.get()[0].status == 200


def test_nothing_is_stored_without_consent(clips, tmp_path):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        client.get()
        assert client.post("/consent")[0].status == 400
        for path in ("/rate", "/finish", "/withdraw", "/stop", "/unplayable"):
            assert client.post(path, place="1", score="3")[0].status == 403
        assert client.get("/media/1")[0].status == 404
    assert rows(tmp_path / "r", "SELECT * FROM participants") == []


def test_a_clip_is_rated_after_it_was_sent_and_the_study_after_all(clips, tmp_path):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        code = client.begin()
        assert client.post("/rate", place="1", score="3")[0].status == 409
        assert client.post("/finish")[0].status == 409
        client.get("/media/1")
        for place, score in (("1", "6"), ("1", ""), ("1", "٣"), ("0", "3"), ("5", "3"), ("x", "3")):
            assert client.post("/rate", place=place, score=score)[0].status == 400
        for place in range(1, 5):
            client.get(f"/media/{place}")
            path, form = ("/unplayable", {}) if place == 3 else ("/rate", {"score": str(place)})
            assert client.post(path, place=str(place), **form)[0].status == 303
        # A browser that was closed forgets all but the code.
        back = Client(server.server_address[1])
        back.get()
        assert b"Nobody has this code" in back.post("/return", code="AAAA-AAAA")[1]
        assert back.post("/return", code=code.lower())[0].status == 303
        assert back.post("/rate", place="1", score="5")[0].status == 303
        assert back.post("/finish")[0].status == 303
        assert b"Thank you" in back.get()[1]
        assert client.post("/rate", place="1", score="1")[0].status == 409
    order = Store(tmp_path / "r").order(code.replace("-", ""))
    stored = dict(rows(tmp_path / "r", "SELECT clip, score FROM ratings"))
    assert [stored[clip] for clip in order] == [5, 2, None, 4]


def test_parts_of_a_clip_are_served(clips, tmp_path):
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        code = client.begin()
        answer, whole = client.get("/media/1")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "video/mp4")
        numbers = {number: digest for (_, _, digest), number in server.store.numbers().items()}
        first = numbers[server.store.order(code.replace("-", ""))[0]]
        assert whole == next(clip.video for clip in clips if clip.digest == first).read_bytes()
        for asked, expected in [("0-0", whole[:1]), ("10-19", whole[10:20]), ("100-", whole[100:]), ("-7", whole[-7:])]:
            answer, part = client.get("/media/1", headers={"Range": f"bytes={asked}"})
            assert answer.status == 206
            assert part == expected
        assert answer.headers["Content-Range"] == f"bytes {len(whole) - 7}-{len(whole) - 1}/{len(whole)}"
        for asked in (f"{len(whole)}-", "-0", "9-3"):
            assert client.get("/media/1", headers={"Range": f"bytes={asked}"})[0].status == 416
        for asked in ("bytes=-", "bytes=0-1,3-4", "rows=1-2", "bytes=x-"):
            answer, part = client.get("/media/1", headers={"Range": asked})
            assert (answer.status, part) == (200, whole)


def test_a_failing_disk_is_told_and_survived(tmp_path):
    video(tmp_path / "a" / "a.mp4", 10)
    clips = open_study_clips([tmp_path / "a"], tmp_path)
    with served(clips, tmp_path / "r") as server:
        client = Client(server.server_address[1])
        client.begin()
        clips[0].video.unlink()
        answer, page = client.get("/media/1")
        assert answer.status == 500
        assert b"That did not work" in page
        assert client.get()[0].status == 200


def test_sessions_are_bounded(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("gaitkeeper.audit.study_server._MAX_SESSIONS", 3)
    with served(clips, tmp_path / "r") as server:
        tokens = [server.session(None).token for _ in range(4)]
        assert server.session(tokens[3]).token == tokens[3]
        assert server.session(tokens[0]).token not in tokens


# What a person does.


def test_a_person_rates_all_clips_in_a_browser(clips_folder, tmp_path):
    clips = open_study_clips([clips_folder], tmp_path)
    with served(clips, tmp_path / DATABASE) as server, Browser() as browser:
        browser.size(390, 800)
        browser.open(server.address)
        assert browser.run("document.documentElement.scrollWidth") == 390
        browser.click("button.main")
        assert "What is stored" in browser.text()
        browser.click("[name=consent]")
        browser.click("button.main")
        rate(browser, 1, lambda: browser.press("4"), clicking=True)
        # Focus is on the button that plays, so the keyboard is enough.
        browser.wait("document.title === 'Clip 2 of 4'")
        browser.open(server.address)
        rate(browser, 2, lambda: browser.click("button[value='2']"))
        browser.wait("document.title === 'Clip 3 of 4'")
        code = str(browser.run("document.querySelector('.code').textContent"))
        browser.click("footer button.quiet")
        browser.wait("document.querySelector('#code')")
        browser.click("#code")
        browser.type(code.lower())
        browser.press("Enter")
        rate(browser, 3, lambda: browser.press("1"))
        rate(browser, 4, lambda: browser.press("5"))
        browser.wait("document.querySelector('.given')")
        assert "Clip 2: 2 (Poor)" in browser.text()
        browser.click(".given li:nth-child(2) a")
        browser.wait("document.title === 'Clip 2 of 4'")
        assert browser.run("document.querySelector('[aria-current]').value") == "2"
        browser.press("3")
        browser.wait("document.activeElement.textContent === 'Finish'")
        browser.press("Enter")
        browser.wait("document.body.className === 'finished'")
        assert rows(server.store.path, "SELECT COUNT(*) FROM participants WHERE finished IS NOT NULL") == [(1,)]

        # The next one withdraws.
        browser.click("button.quiet")
        browser.wait("document.querySelector('[name=consent]')")
        browser.click("[name=consent]")
        browser.click("button.main")
        rate(browser, 1, lambda: browser.press("1"))
        browser.wait("document.title === 'Clip 2 of 4'")
        assert rows(server.store.path, "SELECT COUNT(*) FROM ratings") == [(5,)]
        browser.click("summary")
        browser.click("button.danger")
        browser.wait("document.body.className === 'withdrawn'")
        assert browser.messages == []
        assert all(url.startswith(server.address) or url == "data:," for url in browser.requests)
    order = Store(tmp_path / DATABASE).order(code.replace("-", ""))
    stored = dict(rows(tmp_path / DATABASE, "SELECT clip, score FROM ratings"))
    assert [stored[clip] for clip in order] == [4, 3, 1, 5]
    assert rows(tmp_path / DATABASE, "SELECT COUNT(*) FROM participants") == [(1,)]
    assert len(study([], out=tmp_path, report=True)) == 2


def rate(browser, place, answer, *, clicking=False):
    """Play a clip and rate it; before it has played, keys and buttons do nothing."""
    browser.wait(f"document.title === 'Clip {place} of 4' && document.activeElement.id === 'play'")
    browser.press("3")
    assert browser.run("document.querySelector('fieldset').disabled")
    if clicking:
        browser.click("button[value='3']")
        browser.click("#play")
    else:
        browser.press("Enter")
    browser.wait("!document.querySelector('fieldset').disabled")
    assert browser.run("document.querySelector('video').ended")
    assert browser.run("document.querySelector('#status').textContent").startswith("Rate the clip")
    answer()


def test_a_clip_that_does_not_play_is_left_out(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(64))
    clips = open_study_clips([tmp_path / "broken"], tmp_path)
    with served(clips, tmp_path / "r") as server, Browser() as browser:
        browser.open(server.address)
        browser.click("[name=consent]")
        browser.click("button.main")
        browser.wait("document.querySelector('#unplayable') && !document.querySelector('#unplayable').hidden")
        assert "This browser cannot play the clip." in browser.text()
        browser.click("#unplayable button")
        browser.wait("document.querySelector('.given')")
        assert "Clip 1: did not play" in browser.text()
    assert rows(tmp_path / "r", "SELECT score FROM ratings") == [(None,)]


def test_the_command_serves_until_it_is_interrupted(clips_folder, tmp_path):
    script = "import sys; from pathlib import Path; from gaitkeeper.audit.study import study\n"
    script += "found = study([Path(sys.argv[1])], out=Path(sys.argv[2]), ready=lambda a: print(a, flush=True))\n"
    script += "print(*(f'{o.condition} {o.mean:g}' for o in found))"
    command = [sys.executable, "-W", "error", "-c", script, str(clips_folder), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = urllib.parse.urlsplit(process.stdout.readline().strip())
        assert address.hostname == "127.0.0.1"
        client = Client(address.port)
        client.begin()
        client.get("/media/1")
        assert client.post("/rate", place="1", score="4")[0].status == 303
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert told.strip() in ("original 4", "swapped 4")
    assert {"report.html", "opinions.csv", "ratings.csv", DATABASE} <= {file.name for file in tmp_path.iterdir()}


def test_without_ratings_the_command_reports_nothing(clips_folder, tmp_path):
    def interrupt(address):
        raise KeyboardInterrupt

    assert study([clips_folder], out=tmp_path, ready=interrupt) == []
    assert not (tmp_path / "report.html").exists()
