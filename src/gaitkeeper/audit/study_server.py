"""The server of a study's page: for this machine only, and blind to the rater."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import sqlite3
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jinja2

from gaitkeeper.audit.study_clips import StudyClip
from gaitkeeper.audit.study_store import SCORES, Participant, Store, shown_code
from gaitkeeper.errors import DataError

_MAX_BODY = 4096
_MAX_SESSIONS = 4096
_CHUNK = 2**16
_ASSETS = {"/study.css": "text/css; charset=utf-8", "/study.js": "text/javascript; charset=utf-8"}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; media-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dataclass
class _Session:
    """One browser: its secret, who sits at it, and which clips were sent to it."""

    token: str
    code: str | None = None
    sent: set[int] = field(default_factory=set)


class StudyServer(ThreadingHTTPServer):
    """Serves a study's page on this machine only.

    A rater learns neither names of files nor conditions: clips go by their place in the rater's own order.

    Args:
        clips: what is shown.
        store: of the same clips.
        port: 0 takes any that is free.
        host: a loopback address.
        contact: whom raters may ask, a sentence of the first page.

    Raises:
        DataError: the address is not a loopback one, or cannot be taken.
    """

    daemon_threads = True

    def __init__(
        self, clips: Sequence[StudyClip], store: Store, *, port: int = 0, host: str = "127.0.0.1", contact: str = ""
    ) -> None:
        if not _is_loopback(host):
            raise DataError(f"expected an address of this machine only, such as 127.0.0.1, got {host!r}")
        self.store, self.contact = store, contact
        numbers = store.numbers()
        self.videos = {numbers[clip.condition, clip.view, clip.digest]: clip.video for clip in clips}
        self.key = secrets.token_bytes(32)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise DataError(f"{host}:{port}: the study cannot be served there: {error}") from error

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/"

    @cached_property
    def template(self) -> jinja2.Template:
        """The page."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("gaitkeeper.audit", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("study.html")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong with a request, unless its browser only went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def session(self, token: str | None) -> _Session:
        """Return the session with a token, or a new one; the one unused for longest makes room for it."""
        with self._lock:
            session = self._sessions.get(token or "")
            if session is None:
                session = _Session(secrets.token_urlsafe(24))
                self._sessions[session.token] = session
                if len(self._sessions) > _MAX_SESSIONS:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end(session.token)
            return session

    def proof(self, session: _Session) -> str:
        """Return what a form of a session carries, which no other site can know."""
        return hmac.new(self.key, session.token.encode(), hashlib.sha256).hexdigest()


class _Refused(Exception):
    """A request that is not answered; the arguments are the status and a sentence for the rater."""


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: StudyServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gaitkeeper", ""
    timeout = 60
    session: _Session

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log: it would tell when somebody took part."""

    def _answer(self, method: Callable[[], None]) -> None:
        self.session = _Session("")
        try:
            method()
        except _Refused as refused:
            status, sentence = refused.args
            # Something of the request may not have been read, so the connection cannot be used again.
            self.close_connection = True
            self._page("error", status=status, sentence=sentence)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except (sqlite3.Error, OSError):
            self.close_connection = True
            sentence = "That did not work. Please go back and try again."
            self._page("error", status=HTTPStatus.INTERNAL_SERVER_ERROR, sentence=sentence)

    def _check_host(self) -> None:
        """Refuse names of this machine that another site may have given it."""
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname if _plain(self.headers.get("Host")) else None
        if name is None or not _is_loopback(name):
            raise _Refused(HTTPStatus.FORBIDDEN, "This page is for this machine only.")

    def _resume(self) -> None:
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie)
        except CookieError:
            morsel = None
        self.session = self.server.session(morsel.value if morsel else None)

    @property
    def _cookie(self) -> str:
        # Browsers send a cookie to all ports of a machine, and there may be a study on another one.
        return f"study-{self.server.server_address[1]}"

    def _participant(self) -> Participant | None:
        return self.server.store.participant(self.session.code) if self.session.code else None

    def _get(self) -> None:
        self._check_host()
        path = urlsplit(self.path).path
        if path in _ASSETS:
            text = resources.files("gaitkeeper.audit.templates").joinpath(path[1:]).read_bytes()
            self._send(HTTPStatus.OK, text, _ASSETS[path])
            return
        self._resume()
        participant = self._participant()
        if path == "/":
            self._next(participant)
        elif path == "/withdrawn":
            self._page("withdrawn")
        elif (match := re.fullmatch(r"/(clip|media)/([0-9]{1,6})", path)) and participant is not None:
            order = self.server.store.order(participant.code)
            place = int(match[2])
            if not 1 <= place <= min(len(participant.ratings) + 1, len(order)) or participant.finished:
                raise _Refused(HTTPStatus.NOT_FOUND, "There is no such clip for you to rate.")
            if match[1] == "clip":
                self._clip(participant, order, place)
            else:
                self._media(order[place - 1])
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "There is no such page.")

    def _next(self, participant: Participant | None) -> None:
        """Send what comes next for a participant: consent, a clip to rate, all ratings, or thanks."""
        if participant is None:
            self._page("consent", count=len(self.server.videos), contact=self.server.contact, unknown=False)
            return
        order = self.server.store.order(participant.code)
        unrated = [place for place, clip in enumerate(order, 1) if clip not in participant.ratings]
        if participant.finished:
            self._page("finished", participant=participant)
        elif unrated:
            self._clip(participant, order, unrated[0])
        else:
            given = [(place, participant.ratings[clip]) for place, clip in enumerate(order, 1)]
            self._page("review", participant=participant, given=given)

    def _clip(self, participant: Participant, order: Sequence[int], place: int) -> None:
        clip = order[place - 1]
        self._page(
            "clip",
            participant=participant,
            place=place,
            count=len(order),
            done=len(participant.ratings),
            rated=clip in participant.ratings,
            score=participant.ratings.get(clip),
        )

    def _post(self) -> None:
        form = self._form()
        self._check_host()
        self._resume()
        origin = self.headers.get("Origin")
        own = origin is None or origin == f"http://{self.headers['Host']}"
        proof = form.get("proof", "").encode()
        if not own or not hmac.compare_digest(proof, self.server.proof(self.session).encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "This form is out of date. Open the first page again.")
        path, store, participant = urlsplit(self.path).path, self.server.store, self._participant()
        if path == "/consent":
            if form.get("consent") != "yes":
                raise _Refused(HTTPStatus.BAD_REQUEST, "Please agree first, or close this page.")
            if participant is None:
                self.session.code = store.enroll().code
        elif path == "/return":
            found = store.participant(form.get("code", ""))
            if found is None:
                self._page("consent", count=len(self.server.videos), contact=self.server.contact, unknown=True)
                return
            self.session.code = found.code
            self.session.sent.clear()
        elif participant is None:
            raise _Refused(HTTPStatus.FORBIDDEN, "Please open the first page and agree, or come back with your code.")
        elif path in ("/rate", "/unplayable"):
            self._rate(participant, form, playable=path == "/rate")
        elif path == "/finish":
            if len(participant.ratings) < len(self.server.videos):
                raise _Refused(HTTPStatus.CONFLICT, "There are clips left to rate.")
            store.finish(participant.code)
        elif path == "/stop":
            self.session.code = None
        elif path == "/withdraw":
            store.withdraw(participant.code)
            self.session.code = None
            self._redirect("/withdrawn")
            return
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
        self._redirect("/")

    def _form(self) -> Mapping[str, str]:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "The form cannot be read.")
        if int(length) > _MAX_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large.")
        body = self.rfile.read(int(length)).decode("ascii", "replace")
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The form cannot be read.")
        try:
            return {name: values[0] for name, values in parse_qs(body, max_num_fields=16).items()}
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The form cannot be read.") from error

    def _rate(self, participant: Participant, form: Mapping[str, str], *, playable: bool) -> None:
        order = self.server.store.order(participant.code)
        place, score = form.get("place", ""), form.get("score", "")
        if not re.fullmatch(r"[0-9]{1,6}", place) or not 1 <= int(place) <= len(order):
            raise _Refused(HTTPStatus.BAD_REQUEST, "There is no such clip.")
        if playable and score not in {str(known) for known in SCORES}:
            raise _Refused(HTTPStatus.BAD_REQUEST, "Please give 1 to 5.")
        clip = order[int(place) - 1]
        if clip not in self.session.sent and clip not in participant.ratings:
            raise _Refused(HTTPStatus.CONFLICT, "Please play the clip before you rate it.")
        try:
            self.server.store.rate(participant.code, clip, int(score) if playable else None)
        except DataError as error:
            raise _Refused(HTTPStatus.CONFLICT, "Your ratings are final.") from error

    def _media(self, clip: int) -> None:
        """Send a video or the part of it that is asked for."""
        file = self.server.videos[clip]
        with file.open("rb") as opened:
            size = file.stat().st_size
            part = _range(self.headers.get("Range"), size)
            first, last = part or (0, size - 1)
            if first > last:
                raise _Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "There is no such part of the clip.")
            self._head(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK, last - first + 1, "video/mp4")
            self.send_header("Accept-Ranges", "bytes")
            if part:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            self.session.sent.add(clip)
            opened.seek(first)
            left = last - first + 1
            while left and (data := opened.read(min(_CHUNK, left))):
                self.wfile.write(data)
                left -= len(data)

    def _page(self, page: str, *, status: HTTPStatus = HTTPStatus.OK, **content: Any) -> None:
        known = {"page": page, "scores": SCORES, "proof": self.server.proof(self.session), "shown_code": shown_code}
        text = self.server.template.render(**known, **content)
        self._send(status, text.encode(), "text/html; charset=utf-8")

    def _redirect(self, place: str) -> None:
        self._head(HTTPStatus.SEE_OTHER, 0, "text/plain")
        self.send_header("Location", place)
        self.end_headers()

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._head(status, len(body), kind)
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, length: int, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Content-Security-Policy": _POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            # Other raters of the same browser see other clips at the same addresses.
            "Cache-Control": "no-store",
        }
        if self.session.token:
            headers["Set-Cookie"] = f"{self._cookie}={self.session.token}; Path=/; HttpOnly; SameSite=Lax"
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _plain(host: str | None) -> bool:
    """Return whether a host is written as a name or an address and, if at all, a port."""
    return host is not None and re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?", host) is not None


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for; None where nothing is that is understood."""
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size - 1
    return int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
