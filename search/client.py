"""A client of the REST API: the documents of the command line, from a service elsewhere.

with Client("http://127.0.0.1:8321") as service:
    study = service.submit({"name": "chat-8b", "model": "meta-llama/Llama-3.1-8B", ...})
    for event in service.events(study.id):
        print(event.kind, event.data)
    print(service.frontier(study.id)["items"][0]["deployment"])
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from simulator.errors import MISSING, Infeasible, InputError, TrimtabError

PREFIX = "/api/v1"
OVER = frozenset({"done", "infeasible", "cancelled", "failed"})
TIMEOUT_S = 60.0
# A stream that is silent for longer than the service's pings is dead.
SILENCE_S = 45.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
Document = dict[str, Any]


class ServiceError(TrimtabError):
    """A service that cannot be reached, or that refuses: `status` is that of HTTP, None where there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Submitted:
    """A study that was taken in; `new` is false where its idempotency key had been used for it before."""

    id: str
    state: str
    new: bool


@dataclass(frozen=True)
class Event:
    """Something that happened to a study: `kind` is state, progress or note."""

    id: int
    kind: str
    data: Document


class Client:
    """A service at `url`; raises InputError for what it finds wrong, Infeasible for a "no", ServiceError for all else."""

    def __init__(
        self, url: str, api_key: str | None = None, timeout_s: float = TIMEOUT_S, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Takes the URL without `/api/v1`, and the API key where the service needs one."""
        self.url = url.rstrip("/")
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        try:
            self._http = httpx.Client(base_url=self.url + PREFIX, headers=headers, timeout=timeout_s, transport=transport)
        except (httpx.InvalidURL, ValueError):
            raise InputError("--server", url, "a URL such as http://127.0.0.1:8321") from None

    def __enter__(self) -> Self:
        """Returns the client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes its connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None = None, priority: int = 0) -> Submitted:
        """Returns the study that was taken in."""
        return self._taken_in("/studies", request, idempotency_key, priority)

    def clone(self, study: str, changes: Mapping[str, Any], *, idempotency_key: str | None = None, priority: int = 0) -> Submitted:
        """Returns a new study of another's request with changes (a JSON merge patch)."""
        return self._taken_in(f"/studies/{_in_path(study)}/clone", changes, idempotency_key, priority)

    def studies(self, **filters: Any) -> Document:
        """Returns a page of studies; filters are limit, cursor, state, name, model and since."""
        return self._get("/studies", filters)

    def study(self, study: str) -> Document:
        """Returns a study with its request."""
        return self._get(f"/studies/{_in_path(study)}")

    def frontier(self, study: str) -> Document:
        """Returns the document of `trimtab frontier --json`."""
        return self._get(f"/studies/{_in_path(study)}/frontier")

    def trials(self, study: str, **filters: Any) -> Document:
        """Returns a page of trials; filters are limit, cursor and state."""
        return self._get(f"/studies/{_in_path(study)}/trials", filters)

    def best(self, study: str, terms: Mapping[str, Any]) -> Document:
        """Returns the frontier under another Slo, other prices or other objectives, from stored curves."""
        return self._post(f"/studies/{_in_path(study)}/best", terms)

    def compare(self, a: str, b: str) -> Document:
        """Returns two studies side by side."""
        return self._get("/compare", {"a": a, "b": b})

    def export(self, study: str, kind: str) -> str:
        """Returns a study as the text of a file: csv, json or html."""
        return self._answered(self._send("GET", f"/studies/{_in_path(study)}/export", params={"format": kind})).text

    def cancel(self, study_id: str) -> Document:
        """Asks a study to stop."""
        return self._post(f"/studies/{_in_path(study_id)}/cancel")

    def resume(self, study_id: str) -> Document:
        """Has a cancelled or failed study go on."""
        return self._post(f"/studies/{_in_path(study_id)}/resume")

    def delete(self, study_id: str) -> None:
        """Deletes a study."""
        self._answered(self._send("DELETE", f"/studies/{_in_path(study_id)}"))

    def simulate(self, scenario: Mapping[str, Any]) -> Document:
        """Returns the document of `trimtab simulate --json`."""
        return self._post("/simulate", scenario)

    def capacity(self, scenario: Mapping[str, Any]) -> Document:
        """Returns the document of `trimtab capacity --json`."""
        return self._post("/capacity", scenario)

    def plan(self, request: Mapping[str, Any]) -> Document:
        """Returns the plan of a fleet."""
        return self._post("/plans", request)

    def drift(self, study: str, asked: Mapping[str, Any]) -> Document:
        """Returns a newer trace beside a study: the document of `trimtab drift --json`."""
        return self._post(f"/studies/{_in_path(study)}/drift", asked)

    def validations(self, study: str | None = None, **filters: Any) -> Document:
        """Returns the validations of a study, or the newest of all, by `engine`, `device`, `limit` and `cursor`."""
        return self._get("/validations", filters) if study is None else self._get(f"/studies/{_in_path(study)}/validations")

    def corrections(self) -> Document:
        """Returns all corrections."""
        return self._get("/corrections")

    def catalog(self, kind: str, name: str | None = None) -> Document:
        """Returns the names of a kind, or all of one name."""
        return self._get(f"/catalog/{_in_path(kind)}" + ("" if name is None else f"/{quote(name)}"))

    def upload_trace(self, path: Path) -> str:
        """Returns `sha256:...`, under which requests name the trace in a file."""
        with path.open("rb") as file:
            sent = self._send("POST", "/traces", content=file.read(), headers={"Content-Type": "application/octet-stream"})
        found: str = self._json(sent)["trace"]
        return found

    def events(self, study: str, after: int = 0, patience_s: float = 60.0) -> Iterator[Event]:
        """Yields what happens to a study until it ends; a connection that breaks is made again and goes on where it was.

        Raises ServiceError when the service stays away longer than `patience_s` seconds.
        """
        wait_s, away_since = FIRST_WAIT_S, None
        while True:
            try:
                for event in self._stream(study, after):
                    after, wait_s, away_since = event.id, FIRST_WAIT_S, None
                    yield event
                if self.study(study)["state"] in OVER:
                    return
            except ServiceError as error:
                away_since = away_since or time.monotonic()
                if (error.status or 503) not in (429, 502, 503, 504) or time.monotonic() - away_since > patience_s:
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _stream(self, study: str, after: int) -> Iterator[Event]:
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        timeout = httpx.Timeout(SILENCE_S)
        try:
            with self._http.stream("GET", f"/studies/{_in_path(study)}/events", headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    self._answered(response)
                yield from _events(response.iter_lines())
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def _taken_in(self, path: str, body: Mapping[str, Any], key: str | None, priority: int) -> Submitted:
        headers = {} if key is None else {"Idempotency-Key": key}
        sent = self._send("POST", path, json=dict(body), headers=headers, params={"priority": priority})
        document = self._json(sent)
        return Submitted(document["id"], document["state"], sent.status_code == httpx.codes.ACCEPTED)

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Document:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return self._json(self._send("GET", path, params=given))

    def _post(self, path: str, body: Mapping[str, Any] | None = None) -> Document:
        return self._json(self._send("POST", path) if body is None else self._send("POST", path, json=dict(body)))

    def _send(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **given)
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def _json(self, response: httpx.Response) -> Document:
        try:
            found: Document = self._answered(response).json()
        except json.JSONDecodeError:
            raise ServiceError(f"{self.url} answers with something that is no JSON: is it a Trimtab service?") from None
        return found

    def _answered(self, response: httpx.Response) -> httpx.Response:
        """Returns the response, or raises the error that its problem details tell of."""
        if response.is_success:
            return response
        try:
            problem = response.json()
            detail, errors = str(problem["detail"]), problem.get("errors") or []
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise ServiceError(f"{self.url} answers {response.status_code}", response.status_code) from None
        if str(problem.get("type", "")).endswith(":infeasible"):
            raise Infeasible(detail)
        if errors:
            first = errors[0]
            missing = ": missing;" in detail
            raise InputError(str(first["field"]), MISSING if missing else first["value"], str(first["allowed"]))
        raise ServiceError(f"{self.url}: {detail}", response.status_code)

    def _away(self, error: httpx.HTTPError) -> ServiceError:
        return ServiceError(f"{self.url} cannot be reached ({type(error).__name__}: {error})")


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """Yields the events in the lines of a stream; comments, which keep it alive, are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(int(fields.get("id", 0)), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}


def _in_path(name: str) -> str:
    return quote(name, safe="")
