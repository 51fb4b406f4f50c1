"""The app of a pod in the tests: asks for completions where its environment says, as SDKs do.

``python -m tests.deploy.app once COUNT CODE``: as many requests, then the exit code; ``load``: requests without pause from
four threads, until SIGTERM. Both print ``first`` after the first answer and, at the end, a line of JSON with the counts.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
from urllib.parse import urlsplit

THREADS = 4


class App:
    """Counts what it is answered."""

    def __init__(self) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._base = urlsplit(os.environ["OPENAI_BASE_URL"])
        self._key = os.environ["OPENAI_API_KEY"]

    def ask(self, connection: http.client.HTTPConnection) -> None:
        """One completion."""
        body = json.dumps({"model": "kept", "messages": []})
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        problem = ""
        try:
            connection.request("POST", f"{self._base.path}/chat/completions", body, headers)
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read():
                problem = f"{answer.status} {answer.headers.get('x-fusebox-error')}"
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            problem = repr(error)
        with self._lock:
            self.answered += not problem
            if problem:
                self.failed.append(problem)
            if self.answered == 1:
                print("first", flush=True)

    def connection(self) -> http.client.HTTPConnection:
        """To the sidecar."""
        return http.client.HTTPConnection(self._base.hostname or "", self._base.port, timeout=20)

    def until_told(self) -> None:
        """Requests one after the other on one connection."""
        connection = self.connection()
        while not self.ending.is_set():
            self.ask(connection)
        connection.close()


def main() -> int:
    """The exit code."""
    app = App()
    code = 0
    if sys.argv[1] == "once":
        connection = app.connection()
        for _ in range(int(sys.argv[2])):
            app.ask(connection)
        connection.close()
        code = int(sys.argv[3])
    else:
        signal.signal(signal.SIGTERM, lambda number, frame: app.ending.set())
        threads = [threading.Thread(target=app.until_told) for _ in range(THREADS)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    print(json.dumps({"answered": app.answered, "failed": app.failed}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
