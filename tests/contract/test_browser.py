"""A page in a real browser: what it tries against the engine reaches no route, and nothing of an answer reaches it.

Needs Chromium on PATH (`apt install chromium`); skipped and counted elsewhere.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fake_engine import running, write_model

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")

PAGE = """<!doctype html><body><script>
const tries = %s;
async function attempt([url, options]) {
  try {
    const answer = await fetch(url, options);
    return [answer.type, answer.status, (await answer.text()).slice(0, 200)];
  } catch (error) { return ["error", 0, ""]; }
}
(async () => {
  const found = [];
  for (const each of tries) found.push(await attempt(each));
  // What needs no script: a picture, and a form that goes into a frame.
  const picture = new Image(); picture.src = tries[0][0];
  document.body.append(picture);
  const frame = document.createElement("iframe"); frame.name = "frame"; document.body.append(frame);
  const form = document.createElement("form");
  form.method = "POST"; form.action = tries[1][0]; form.target = "frame"; form.enctype = "text/plain";
  const input = document.createElement("input");
  input.name = '{"model":"small","messages":[{"role":"user","content":"words=1"}],"x":"'; input.value = '"}';
  form.append(input);
  document.body.append(form); form.submit();
  await new Promise(done => setTimeout(done, 300));
  await fetch("/report", {method: "POST", body: JSON.stringify(found)});
})();
</script></body>"""


class Site:
    """Some website."""

    def __init__(self) -> None:
        self.tries: list[Any] = []
        self.reported = threading.Event()
        self.report: list[Any] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say((PAGE % json.dumps(site.tries)).encode())

            def do_POST(self) -> None:
                site.report = json.loads(self.rfile.read(int(self.headers["content-length"])))
                site.reported.set()
                self._say(b"ok")

            def _say(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def website() -> Iterator[Site]:
    site = Site()
    try:
        yield site
    finally:
        site.close()


def visit(site: Site, name: str, tries: list[Any], profile: Path) -> list[Any]:
    """What the page found out, opened under a name that leads to this machine, as any website's name may."""
    site.tries = tries
    site.reported.clear()
    browser = subprocess.Popen(
        [
            str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
            # The browser's own fence would answer for the engine's.
            "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
            f"--user-data-dir={profile}", "--host-resolver-rules=MAP *.test 127.0.0.1",
            f"http://{name}:{site.port}/",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert site.reported.wait(60), "the page did not report"
        return site.report
    finally:
        browser.kill()
        browser.wait()


def test_a_page_can_neither_read_nor_pull_nor_delete_nor_ask(home: Path, tmp_path: Path) -> None:
    model = write_model("small")
    with running(home / "journal") as engine, website() as site:
        assert engine.server is not None
        activity = engine.server.engine.activity
        passed: list[int] = []
        begin = activity.begin
        activity.begin = lambda: (passed.append(1), begin())[1]  # type: ignore[method-assign]
        body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "words=1"}]})
        tries: list[Any] = []
        for base in (engine.url, f"http://localhost:{engine.port}", f"http://rebound.test:{engine.port}"):
            for extra in ({}, {"mode": "no-cors"}):
                tries += [
                    [f"{base}/v1/models", {**extra}],
                    [f"{base}/v1/chat/completions", {"method": "POST", "body": body, **extra}],
                    [f"{base}/api/pull", {"method": "POST", "body": '{"model":"small"}', **extra}],
                    [f"{base}/fireside/stop", {"method": "POST", **extra}],
                ]
            tries.append([f"{base}/api/delete", {"method": "DELETE", "body": '{"model":"small"}'}])
        found = visit(site, "evil.test", tries, tmp_path / "profile")
        assert len(found) == len(tries)
        for (url, options), (kind, status, text) in zip(tries, found, strict=True):
            assert (kind, status, text) in (("error", 0, ""), ("opaque", 0, "")), (url, options)
        assert passed == [], "not even the form and the picture came past the gate"
        assert model.exists()
        # A page of this machine may read, so the above would have seen an answer.
        read = visit(site, "localhost", [tries[0], tries[1]], tmp_path / "profile2")
        assert [(kind, status) for kind, status, _ in read] == [("cors", 200), ("cors", 200)]
        assert '"small"' in read[0][2]
        assert len(passed) >= 2
