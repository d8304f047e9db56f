"""Records at an address: fetched once, checked, kept in a cache that processes share."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from shared import TINY_OPTIONS, contents, run_cli

import deeploc_tf
import tfrecords.retrying
from deeploc_tf import remote_records
from deeploc_tf.provenance import parent
from deeploc_tf.remote_records import is_address, local_manifest, local_records, name_of
from tfrecords.errors import DamagedRecordsError, RecordsError
from tfrecords.manifest import read_manifest
from tfrecords.verify import verify_deep

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (extra cloud)")
memory = pytest.importorskip("fsspec.implementations.memory")

ADDRESS = "flaky://bucket/screens/records"
FIRST = "deeploc-train.tfrecord-00000-of-00002"
SECOND = "deeploc-train.tfrecord-00001-of-00002"
TEST = "deeploc-test.tfrecord-00000-of-00001"


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def endless(_: bytes) -> Any:
    return None


def refused(_: bytes) -> bytes:
    msg = "503 Slow Down"
    raise RuntimeError(msg)


class Flaky(memory.MemoryFileSystem):  # type: ignore[misc,name-defined]
    """An object store in memory that counts what is fetched, and may spoil it."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    fetched: ClassVar[Counter[str]] = Counter()
    faults: ClassVar[dict[str, list[Callable[[bytes], bytes]]]] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def get_file(self, rpath: str, lpath: str, *, callback: Any, **_: Any) -> None:
        name = rpath.rpartition("/")[2]
        content = self.cat_file(rpath)
        self.fetched[name] += 1
        if self.faults.get(name):
            content = self.faults[name].pop(0)(content)
        while content is None:  # it never ends
            callback.relative_update(1)
        Path(lpath).write_bytes(content)


@pytest.fixture
def records(tiny_records: Any, tmp_path: Path) -> Path:
    tiny_records.write(tmp_path / "records")
    return tmp_path / "records"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tfrecords.retrying, "_WAITS", (0, 0, 0))
    monkeypatch.setenv("DEEPLOC_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_records, "_WAIT", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def store(records: Path, cache: Path) -> Iterator[type[Flaky]]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    upload(records, ADDRESS)
    yield Flaky
    for kept in (Flaky.store, Flaky.fetched, Flaky.faults):
        kept.clear()


def upload(folder: Path, address: str) -> None:
    files, path = fsspec.core.url_to_fs(address)
    for name, content in contents(folder).items():
        files.pipe_file(f"{path}/{name}", content)


def shards(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if ".tfrecord" in name}


def test_a_copy_is_fetched_once_and_is_the_data_set(store: type[Flaky], records: Path) -> None:
    found = local_records(ADDRESS)
    assert contents(found) == contents(records)
    verify_deep(found)
    assert parent("records", found) == parent("records", records)
    assert local_records(f"{ADDRESS}/") == local_records(ADDRESS) == found
    assert shards(store.fetched) == {FIRST: 1, SECOND: 1, TEST: 1}
    assert store.fetched["manifest.json"] == 3
    assert found.parent.name == read_manifest(records).digest


def test_another_name_of_the_same_records_takes_the_same_copy(
    store: type[Flaky], records: Path
) -> None:
    upload(records, "flaky://other/moved")
    first, second = local_records(ADDRESS), local_records("flaky://other/moved")
    assert (first.name, second.name) == ("records", "moved")
    assert contents(first) == contents(second)
    assert shards(store.fetched) == {FIRST: 1, SECOND: 1, TEST: 1}


@pytest.mark.parametrize("fault", [cut, flipped, refused])
def test_what_fails_for_a_while_comes_again(
    store: type[Flaky], fault: Callable[[bytes], bytes], records: Path
) -> None:
    store.faults = {SECOND: [fault, fault], "manifest.json": [fault], "rejects.jsonl": [refused]}
    assert contents(local_records(ADDRESS)) == contents(records)
    assert shards(store.fetched) == {FIRST: 1, SECOND: 3, TEST: 1}


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (cut, DamagedRecordsError, "bytes, expected"),
        (flipped, DamagedRecordsError, "sha256="),
        (refused, OSError, "503 Slow Down"),
    ],
)
def test_what_fails_always_is_told_and_the_rest_is_kept(
    store: type[Flaky],
    cache: Path,
    fault: Callable[[bytes], bytes],
    error: type[Exception],
    said: str,
) -> None:
    store.faults = {SECOND: [fault] * 4}
    with pytest.raises(error, match=f"{ADDRESS}/{SECOND}.*{said}") as raised:
        local_records(ADDRESS)
    assert tfrecords.retrying.retried is not None
    assert getattr(raised.value, "errno", None) is None  # `fit` does not begin anew for it
    assert not list(cache.rglob(f"*{SECOND}*"))
    assert not list(cache.rglob("records"))
    local_records(ADDRESS)
    assert shards(store.fetched) == {FIRST: 1, SECOND: 5, TEST: 1}


@pytest.mark.parametrize("spoil", [Path.unlink, None, cut])
def test_a_shard_that_was_changed_in_the_cache_comes_again(
    store: type[Flaky], records: Path, spoil: Any
) -> None:
    shard = local_records(ADDRESS) / FIRST
    if spoil is Path.unlink:
        shard.unlink()
    else:
        shard.write_bytes((spoil or flipped)(shard.read_bytes()))
        os.utime(shard, ns=(1, 1))
    assert contents(local_records(ADDRESS)) == contents(records)
    assert shards(store.fetched) == {FIRST: 2, SECOND: 1, TEST: 1}


@pytest.mark.parametrize("name", ["manifest.json", "features.json", "../.checked.json"])
def test_another_file_that_went_from_the_cache_comes_again(
    store: type[Flaky], records: Path, name: str
) -> None:
    data = local_records(ADDRESS).parent / ".data"
    (data / name).unlink()
    assert contents(local_records(ADDRESS)) == contents(records)


def test_records_that_are_replaced_at_the_address_are_other_records(
    store: type[Flaky], tiny_records: Any, tmp_path: Path
) -> None:
    before = local_records(ADDRESS)
    tiny_records.write(tmp_path / "new", seed=5)
    upload(tmp_path / "new", ADDRESS)
    after = local_records(ADDRESS)
    assert read_manifest(after).digest != read_manifest(before).digest
    assert contents(after) == contents(tmp_path / "new")
    verify_deep(before)


def test_what_is_not_there_is_told(store: type[Flaky], cache: Path) -> None:
    with pytest.raises(RecordsError, match=r"must have a manifest\.json.*flaky://bucket/nothing"):
        local_records("flaky://bucket/nothing")
    del store.store[f"/bucket/screens/records/{FIRST}"]
    with pytest.raises(DamagedRecordsError, match=f"no {FIRST}"):
        local_records(ADDRESS)
    with pytest.raises(ValueError, match="folder or an address"):
        local_records("nowhere://bucket/records")
    assert local_manifest(ADDRESS).split_names == ("test", "train")


def test_what_may_not_be_read_is_told_at_once(store: type[Flaky], cache: Path) -> None:
    def forbidden(_: bytes) -> bytes:
        msg = "Access Denied"
        raise PermissionError(msg)

    store.faults = {"features.json": [forbidden], FIRST: [forbidden]}
    with pytest.raises(PermissionError, match=f"{ADDRESS}/{FIRST}.*Access Denied"):
        local_records(ADDRESS)
    assert store.fetched[FIRST] == 1


def test_a_file_in_place_of_a_manifest_is_told(store: type[Flaky]) -> None:
    store.store.clear()
    fsspec.filesystem("flaky").pipe_file("/bucket/screens/records/manifest.json", b"<html>")
    with pytest.raises(DamagedRecordsError, match=f"{ADDRESS}/manifest.json"):
        local_records(ADDRESS)


def test_a_missing_package_is_named_with_its_remedy(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r"s3://a/b.*Mend it.*(pip install|cloud)"):
        local_records("s3://a/b")
    result = run_cli("inspect", "s3://a/b")
    assert result.exit_code == 1
    assert "cloud" in result.stderr or "s3fs" in result.stderr


def test_passwords_and_signatures_are_not_shown(store: type[Flaky], cache: Path) -> None:
    with pytest.raises(ValueError, match="nowhere://host/records") as raised:
        local_records("nowhere://user:secret@host/records?signature=secret")
    assert "secret" not in str(raised.value)
    assert name_of("https://host/a/records/?signature=x/y") == "records"
    assert name_of("https://host") == "host"
    assert name_of("s3://bucket/a/..") == "records"


def test_folders_are_no_addresses(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_records(records) == local_records(str(records)) == records
    monkeypatch.chdir(records.parent)
    for text in ("records", "./records", "C:/records", "a:b", "", "x" * 5000, "a\0b"):
        assert not is_address(text)
    (records.parent / "s3:").mkdir()
    shutil.move(records, "s3:/records")
    assert not is_address("s3:/records")
    assert local_records("s3:/records") == Path("s3:/records")


def test_a_path_that_lost_a_slash_is_the_address(store: type[Flaky], records: Path) -> None:
    assert contents(local_records(Path(ADDRESS))) == contents(records)


def other_address(tiny_records: Any, folder: Path, seed: int) -> str:
    tiny_records.write(folder / f"records-{seed}", seed=seed)
    return (folder / f"records-{seed}").as_uri()


FETCH = (
    "import sys; from deeploc_tf.remote_records import local_records; "
    "print(local_records(sys.argv[1]), flush=True); sys.stdin.readline()"
)


@contextlib.contextmanager
def reader(address: str) -> Iterator[Path]:
    """Another process that reads records until the block ends."""
    command = [sys.executable, "-c", FETCH, address]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_the_cache_is_bounded_and_keeps_what_is_read(
    tiny_records: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth = (other_address(tiny_records, tmp_path, n) for n in range(4))
    # A data set takes 5.4 kB of shards and some of JSON.
    monkeypatch.setenv("DEEPLOC_TF_CACHE_GB", "40e-6")
    with reader(first) as used:
        pass  # killed: it left its lock
    with reader(second) as kept:
        os.utime(used.parent, (2, 2))
        os.utime(kept.parent, (1, 1))
        sizes = [sum(map(len, contents(place).values())) for place in (used, kept)]
        monkeypatch.setenv("DEEPLOC_TF_CACHE_GB", str(sum(sizes) * 1e-9))
        found = local_records(third)
        assert not used.exists()
        verify_deep(kept)
        with pytest.raises(OSError, match=r"must have room.*DEEPLOC_TF_CACHE_GB"):
            local_records(fourth)
        assert found.is_dir()
    assert local_records(fourth).is_dir()
    assert not kept.exists()
    assert found.is_dir()


@pytest.mark.parametrize("size", ["0", "-1", "nan", "much"])
def test_a_size_must_be_a_number(
    store: type[Flaky], monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setenv("DEEPLOC_TF_CACHE_GB", size)
    with pytest.raises(ValueError, match=f"DEEPLOC_TF_CACHE_GB must be.*{size}"):
        local_records(ADDRESS)


def test_those_who_ask_at_once_fetch_once(store: type[Flaky], records: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(local_records, [ADDRESS] * 6))
    assert len(set(found)) == 1
    assert contents(found[0]) == contents(records)
    assert shards(store.fetched) == {FIRST: 1, SECOND: 1, TEST: 1}


def test_a_fetch_that_was_killed_is_taken_up(store: type[Flaky], records: Path) -> None:
    def killed(_: bytes) -> bytes:
        raise KeyboardInterrupt

    store.faults = {TEST: [killed]}
    with pytest.raises(KeyboardInterrupt):
        local_records(ADDRESS)
    assert contents(local_records(ADDRESS)) == contents(records)
    assert store.fetched[TEST] == 2
    assert store.fetched[FIRST] == 1


def test_commands_read_an_address_and_write_what_they_write_of_a_copy(
    store: type[Flaky], records: Path, tmp_path: Path
) -> None:
    other = tmp_path / "cache-of-its-own"
    local = [run_cli(*words).stdout for words in (["inspect", records], ["verify", records])]
    inspected = run_cli("inspect", ADDRESS)
    assert inspected.stdout == local[0].replace(str(records), ADDRESS)
    assert not shards(store.fetched)
    verified = run_cli("verify", ADDRESS, "--deep", "--cache", other)
    assert verified.stdout.startswith(f"{ADDRESS}: records, whole, 12 crops")
    assert other.is_dir()
    for place, name in ((records, "local"), (ADDRESS, "remote")):
        options = ("--kind", "intensity", "--cache", other)
        (tmp_path / name).mkdir()
        done = run_cli("measure", place, tmp_path / name / "cells.h5", *options)
        assert done.exit_code == 0, done.stderr
    assert contents(tmp_path / "local") == contents(tmp_path / "remote")
    assert shards(store.fetched) == {FIRST: 1, SECOND: 1, TEST: 1}


@pytest.mark.slow
def test_a_network_is_trained_and_used_from_an_address(
    store: type[Flaky], records: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = run_cli("fit", ADDRESS, run, *TINY_OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert deeploc_tf.trace(run, search=[records.parent]).parents[0].path == records
    for place, name in ((records, "local"), (ADDRESS, "remote")):
        for words in (["embed", run, place, tmp_path / f"{name}.h5"], ["evaluate", run, place]):
            done = run_cli(*words)
            assert done.exit_code == 0, done.stderr
    assert (tmp_path / "local.h5").read_bytes() == (tmp_path / "remote.h5").read_bytes()
    assert shards(store.fetched) == {FIRST: 1, SECOND: 1, TEST: 1}


@pytest.mark.parametrize(
    "words",
    [
        ["fit", ADDRESS, "s3://bucket/run"],
        ["measure", ADDRESS, "s3://bucket/cells.h5"],
        ["embed", "run", ADDRESS, "gs://bucket/cells.h5"],
        ["evaluate", "run", ADDRESS, "https://host/results"],
    ],
)
def test_outputs_are_local(store: type[Flaky], words: list[str]) -> None:
    result = run_cli(*words)
    assert result.exit_code in (1, 2)
    assert "must lie on this machine" in result.stderr
    assert not shards(store.fetched)
    with pytest.raises(ValueError, match="must lie on this machine"):
        deeploc_tf.measure(ADDRESS, "s3://bucket/cells.h5")


def test_a_split_that_is_not_there_is_told_before_a_shard_is_fetched(store: type[Flaky]) -> None:
    result = run_cli("measure", ADDRESS, "cells.h5", "--split", "tets")
    assert result.exit_code == 1
    assert "tets" in result.stderr
    assert not shards(store.fetched)


def test_files_on_their_way_do_not_hold_up_who_interrupts(store: type[Flaky]) -> None:
    def interrupted(_: bytes) -> bytes:
        raise KeyboardInterrupt

    store.faults = {TEST: [interrupted], FIRST: [endless], SECOND: [endless]}
    with pytest.raises(KeyboardInterrupt):
        local_records(ADDRESS)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; of shards the first answer is an error, the second cut, the third slow."""

    asked: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = Path(self.path.partition("?")[0]).name
        self.asked[name] += 1
        if ".tfrecord" not in name or self.asked[name] > 3:
            super().do_GET()
        elif self.asked[name] == 1:
            self.send_error(503)
        else:
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2
            self.wfile.write(content[:half])
            self.wfile.flush()
            if self.asked[name] == 3:
                threading.Event().wait(0.2)
                self.wfile.write(content[half:])


@pytest.mark.skipif(find_spec("aiohttp") is None, reason="aiohttp is not installed (extra cloud)")
def test_an_http_server_with_errors(
    records: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Handler.asked.clear()

    def handler(*arguments: Any) -> Handler:
        return Handler(*arguments, directory=str(records.parent))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/records"
        found = local_records(f"{address}?signature=secret")
        assert contents(found) == contents(records)
        assert "503" in caplog.text
        assert "secret" not in caplog.text
        assert {name: n for name, n in Handler.asked.items() if ".tfrecord" in name} == {
            FIRST: 3,
            SECOND: 3,
            TEST: 3,
        }
        assert run_cli("verify", address, "--deep").exit_code == 0
        server.shutdown()
    with pytest.raises(OSError, match="could not be read") as raised:
        local_records(f"{address.replace('//', '//user:secret@')}?signature=secret")
    assert "secret" not in str(raised.value)


@pytest.mark.skipif(
    find_spec("moto") is None or find_spec("s3fs") is None,
    reason="moto or s3fs is not installed",
)
def test_an_s3_server(
    records: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store, asked = DomainDispatcherApplication(create_backend_app), Counter[str]()

    def faulty(environ: Any, start_response: Any) -> Any:
        """The store; of shards the first answer is an error, the second cut, the third slow."""
        name = environ["PATH_INFO"].rpartition("/")[2]
        if environ["REQUEST_METHOD"] != "GET" or ".tfrecord" not in name:
            return store(environ, start_response)
        asked[name] += 1
        if asked[name] == 1:
            start_response("503 Slow Down", [("Content-Length", "0")])
            return []
        content = b"".join(store(environ, start_response))
        return (piece for piece in halves(content, only_first=asked[name] == 2))

    def halves(content: bytes, *, only_first: bool) -> Iterator[bytes]:
        yield content[: len(content) // 2]
        if not only_first:
            threading.Event().wait(0.2)
            yield content[len(content) // 2 :]

    server = make_server("127.0.0.1", 0, faulty, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = {"endpoint_url": f"http://127.0.0.1:{server.server_port}"}
    monkeypatch.setitem(fsspec.config.conf, "s3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        files = fsspec.filesystem("s3")
        files.mkdir("screens")
        with pytest.raises(RecordsError, match=r"manifest\.json"):
            local_records("s3://screens/records")
        upload(records, "s3://screens/records")
        assert contents(local_records("s3://screens/records")) == contents(records)
        assert min(asked[name] for name in (FIRST, SECOND, TEST)) >= 3
        assert run_cli("verify", "s3://screens/records", "--deep").exit_code == 0
        files.pipe_file(f"screens/records/{FIRST}", flipped((records / FIRST).read_bytes()))
        with pytest.raises(DamagedRecordsError, match=FIRST):
            local_records("s3://screens/records", tmp_path / "another")
    finally:
        server.shutdown()
