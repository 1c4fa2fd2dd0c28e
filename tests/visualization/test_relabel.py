"""The relabel page as its users and its attackers meet it: over HTTP, by keys in a browser, as a command."""

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.compose import compose
from src.data.overrides import DROP, Override, add_override, load_overrides
from src.layout import DATASET_DIR, LABEL_ISSUES_DIR
from src.selection import Selection
from src.visualization.relabel import items_to_decide, overrides_path, taken_options, who
from src.visualization.relabeling import pictures as relabel_pictures
from src.visualization.relabeling.items import open_items
from src.visualization.relabeling.page import COMMAND_KEYS, keys_of
from src.visualization.relabeling.pictures import Pictures
from src.visualization.relabeling.server import LARGEST_BODY, RelabelServer
from src.visualization.relabeling.session import Session
from tests.data.drawn import drawing, encoded, tar_of
from tests.visualization.browser import Browser, browser_path
from tests.visualization.labels_to_decide import (
    CLASSES,
    IMAGES,
    OVERRIDES,
    QUESTIONS,
    RAW,
    duplicates,
    suspects,
    write_images,
    write_project,
)
from tests.visualization.page_parser import PageParser

ROOT = Path(__file__).resolve().parents[2]
WHO = "Ada"
MAX_PIXELS = 10_000
PATIENCE_S = 120


class Client:
    """Talks to a server as a browser does that has the address."""

    def __init__(self, server: RelabelServer) -> None:
        self.server = server
        self.path = server.session.path

    def ask(self, name: str = "", *, body: bytes | None = None, address: str | None = None, **headers: str):
        request = urllib.request.Request((address or self.server.address) + name, data=body)
        for key, value in headers.items():
            request.add_header(key.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def send(self, name: str, content: object, **headers: str):
        told = {"Content_Type": "application/json", **headers}
        status, _, answer = self.ask(name, body=json.dumps(content).encode(), **told)
        return status, json.loads(answer)

    def decide(self, item: int, label: str | None, *pictures: int):
        return self.send("decide", {"item": item, "label": label, "pictures": list(pictures)})

    def image(self, image_id: str):
        return self.ask(f"image?id={quote(image_id, safe='')}")

    def state(self):
        html = self.ask()[2].decode()
        return json.loads(re.search(r'id="state">(.*?)</script>', html, re.S)[1])

    def written(self) -> dict[str, str]:
        return {image_id: row.label for image_id, row in load_overrides(self.path).items()}


@pytest.fixture
def serve(tmp_path):
    """Starts a server for drawn images, or a changed session, and returns a client of it."""
    servers = []

    def start(session: Session | None = None, pictures: Pictures | None = None) -> Client:
        manifest = write_images(tmp_path)
        if session is None:
            items = open_items(manifest, suspects(), duplicates(), {})
            session = Session(items, manifest.class_names, path=tmp_path / OVERRIDES, who=WHO)
        if pictures is None:
            pictures = Pictures(manifest, [name for question in QUESTIONS for name in question], max_pixels=MAX_PIXELS)
        server = RelabelServer(session, pictures, port=0)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return Client(server)

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


# what is asked


def asked(items) -> list[list[str]]:
    return [[picture.id for picture in item.pictures] for item in items]


def test_copies_with_different_labels_are_asked_first_identical_ones_before_similar_ones_then_suspects_by_rank(
    tmp_path,
):
    items = open_items(write_images(tmp_path), suspects(), duplicates(), {})
    assert asked(items) == QUESTIONS
    assert [item.suggested for item in items] == [None, "dog", "dog", "cat", CLASSES[2]]
    assert items[2].origin == "suspect rank 1"


def test_without_a_search_for_suspects_the_copies_are_asked(tmp_path):
    assert asked(open_items(write_images(tmp_path), None, duplicates(), {})) == QUESTIONS[:2]


def test_what_is_decided_is_not_asked_again_a_kept_label_neither(tmp_path):
    kept = {"cat/1.png": Override("cat/1.png", "cat", "", "")}
    left = open_items(write_images(tmp_path), suspects(), duplicates(), kept)
    assert asked(left) == [question for question in QUESTIONS if question != ["cat/1.png"]]


@pytest.mark.parametrize(
    ("labels", "asked_again"),
    [
        ({"cat/near.png": "dog"}, False),
        ({"cat/near.png": DROP}, False),
        ({"dog/near.png": "cat"}, True),
        ({"cat/near.png": "cat", "dog/near.png": "dog", "dog/near2.png": "dog"}, False),
    ],
)
def test_copies_are_asked_for_until_their_labels_agree_or_each_was_decided(tmp_path, labels, asked_again):
    overrides = {name: Override(name, label, "", "") for name, label in labels.items()}
    left = asked(open_items(write_images(tmp_path), None, duplicates(), overrides))
    assert (QUESTIONS[1] in left) is asked_again


def test_an_unlabelled_copy_has_no_label_to_keep_but_can_be_given_one(tmp_path):
    copies = duplicates().iloc[:3].copy()
    copies.loc[1, "label"] = ""
    manifest = write_images(tmp_path)
    items = open_items(manifest, None, copies, {})
    session = Session(items, CLASSES, path=tmp_path / OVERRIDES, who=WHO)
    with pytest.raises(ValueError, match="there is no label to keep; choose a class, or drop the image"):
        session.decide(0, None, [1])
    session.decide(0, None, [0, 1, 2])
    assert session.labels() == {"cat/near.png": "cat", "dog/near2.png": "dog"}
    assert session.done() == [0]
    session.decide(0, "cat", [1])
    assert load_overrides(tmp_path / OVERRIDES)["dog/near.png"].why == "near duplicates b5 (cat, dog): no label -> cat"


def test_images_that_left_the_data_set_and_suspects_that_were_mended_at_the_source_are_not_asked(tmp_path):
    manifest = write_images(tmp_path)
    gone = manifest.table[~manifest.table["id"].isin(["cat/copy.png", "cat/2.png"])]
    gone.loc[gone["id"] == "cat/1.png", "label"] = CLASSES.index("dog")
    left = open_items(replace(manifest, table=gone), suspects(), duplicates(), {})
    assert asked(left) == [QUESTIONS[1], QUESTIONS[3]]


def test_suspects_without_numbers_are_refused(tmp_path):
    broken = suspects().astype({"prob_label": object})
    broken.loc[0, "prob_label"] = "much"
    with pytest.raises(ValueError, match="prob_suggested of the suspects are not all numbers; run make label-issues"):
        open_items(write_images(tmp_path), broken, duplicates(), {})


def test_each_class_has_a_key_of_its_own_that_is_no_command_as_long_as_there_are_keys():
    keys = keys_of([f"class {number}" for number in range(40)])
    assert keys[:10] == [*"123456789", "a"]
    used = [key for key in keys if key]
    assert len(set(used)) == len(used) == 29
    assert keys[29:] == [""] * 11
    assert not set(used) & set(COMMAND_KEYS)


# over HTTP


def test_page_is_whole_needs_nothing_from_elsewhere_and_runs_no_name_as_markup(serve):
    client = serve()
    status, headers, content = client.ask()
    html, parsed = content.decode(), PageParser(content.decode())
    assert status == 200
    assert parsed.faults == []
    assert not re.search(r"url\(|@import|https?:", html)
    assert CLASSES[2] not in html
    assert [attributes.get("href") for attributes in parsed.found("link")] == ["data:,"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", headers["Content-Security-Policy"])[1]
    assert {
        element["nonce"] for element in (*parsed.found("style"), *parsed.found("script")) if "type" not in element
    } == {nonce}
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Python" not in headers["Server"]


def test_page_is_told_the_questions_with_labels_and_probabilities(serve):
    state = serve().state()
    assert [[picture["id"] for picture in item["pictures"]] for item in state["items"]] == QUESTIONS
    suspect = state["items"][2]
    assert (suspect["suggested"], suspect["prob_suggested"], suspect["prob_label"]) == ("dog", 0.975, 0.004)
    assert suspect["pictures"] == [{"id": "cat/1.png", "split": "train", "label": "cat"}]
    assert state["classes"] == [{"name": name, "key": key} for name, key in zip(CLASSES, "123", strict=True)]
    assert state["done"] == []


def test_every_picture_is_shown_as_it_is_in_the_raw_store(serve):
    client = serve()
    for seed, (image_id, _, _) in enumerate(IMAGES[:-1]):
        status, headers, content = client.image(image_id)
        assert (status, headers["Content-Type"]) == (200, "image/png")
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(content))), np.asarray(drawing(seed)))


def test_decisions_are_written_with_who_and_why(serve):
    client = serve()
    assert client.decide(2, "dog", 0)[0] == 200
    assert client.decide(3, None, 0)[0] == 200
    assert client.decide(4, "dog", 0)[0] == 200
    status, told = client.decide(0, DROP, 1)
    assert status == 200
    assert told["done"] == [0, 2, 3, 4]
    assert told["tally"] == {"changed": 2, "kept": 1, "dropped": 1}
    assert list(load_overrides(client.path).values()) == [
        Override("cat/1.png", "dog", WHO, "suspect rank 1: cat -> dog p=0.975"),
        Override("dog/ü 1.png", "dog", WHO, "suspect rank 2: dog kept, suggested cat p=0.9"),
        Override("cat/2.png", "dog", WHO, f"suspect rank 3: cat -> dog, suggested {CLASSES[2]} p=0.8"),
        Override("dog/copy.png", DROP, WHO, "identical images a1 (cat, dog): dog dropped"),
    ]
    assert client.server.session.summary() == (
        f"4 of 5 decided; labels: 2 changed, 1 kept, 1 dropped, written to {client.path.as_posix()}; "
        "next: make data, then make train"
    )


def test_one_answer_labels_all_copies_and_one_for_some_of_them_leaves_the_question_open_while_they_differ(serve):
    client = serve()
    assert client.decide(1, "cat", 1)[1]["done"] == []
    assert client.written() == {"dog/near.png": "cat"}
    assert client.decide(1, "cat", 0, 1, 2)[1]["done"] == [1]
    assert client.written() == {"dog/near.png": "cat", "cat/near.png": "cat", "dog/near2.png": "cat"}


def test_undo_takes_back_one_decision_after_the_other_and_leaves_what_others_wrote(serve):
    client = serve()
    client.decide(1, "dog", 0, 1, 2)
    client.decide(2, "dog", 0)
    add_override(client.path, Override("other.png", "cat", "Bob", "by hand"))
    client.decide(2, "cat", 0)
    assert client.send("undo", {})[1]["item"] == 2
    assert client.written() == {**dict.fromkeys(QUESTIONS[1], "dog"), "cat/1.png": "dog", "other.png": "cat"}
    assert client.send("undo", {})[1]["done"] == [1]
    assert client.send("undo", {})[1] == {
        "item": 1,
        "done": [],
        "labels": {},
        "tally": {"changed": 0, "kept": 0, "dropped": 0},
    }
    assert client.send("undo", {})[1]["item"] is None
    assert client.written() == {"other.png": "cat"}
    assert client.server.session.summary() == "0 of 5 decided, nothing was written"


def test_many_requests_at_once_lose_no_decision(serve):
    client = serve()
    threads = [threading.Thread(target=client.decide, args=(number % 5, "cat", 0)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.written() == {question[0]: "cat" for question in QUESTIONS}
    assert len(client.path.read_text(encoding="utf-8").splitlines()) == 21


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        ({"item": 5, "label": "cat", "pictures": [0]}, 409, "there is no item 5; the page has 5 items"),
        ({"item": -1, "label": "cat", "pictures": [0]}, 409, "there is no item -1"),
        ({"item": 0, "label": "cow", "pictures": [0]}, 409, "'cow' is no class of this data set"),
        ({"item": 0, "label": "cat", "pictures": []}, 409, "pictures [] of item 0 are not all there"),
        ({"item": 0, "label": "cat", "pictures": [0, 2]}, 409, "pictures [0, 2] of item 0 are not all there"),
        ({"item": 0, "label": "cat", "pictures": [-1]}, 409, "pictures [-1] of item 0 are not all there"),
        ({"item": "0", "label": "cat", "pictures": [0]}, 400, "send {"),
        ({"item": True, "label": "cat", "pictures": [0]}, 400, "send {"),
        ({"item": 0, "label": 1, "pictures": [0]}, 400, "send {"),
        ({"item": 0, "label": "cat", "pictures": "0"}, 400, "send {"),
        ({}, 400, "send {"),
        ([0], 400, "send a JSON object"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_and_nothing_is_written(serve, content, status, told):
    client = serve()
    found, answer = client.send("decide", content)
    assert found == status
    assert answer["error"].startswith(told)
    assert not client.path.exists()


def test_a_file_that_is_broken_by_hand_meanwhile_is_told_and_nothing_in_it_is_lost(serve):
    client = serve()
    client.decide(2, "dog", 0)
    broken = client.path.read_text(encoding="utf-8") + "half a row\n"
    client.path.write_text(broken, encoding="utf-8")
    for name, content in (("decide", {"item": 3, "label": "cat", "pictures": [0]}), ("undo", {})):
        status, answer = client.send(name, content)
        assert status == 409
        assert "line 3: 1 cells, where 4 belong" in answer["error"]
    assert client.path.read_text(encoding="utf-8") == broken
    client.path.write_text(broken.replace("half a row\n", ""), encoding="utf-8")
    assert client.decide(3, "cat", 0)[0] == 200
    assert client.written() == {"cat/1.png": "dog", "dog/ü 1.png": "cat"}


# attackers


def test_without_the_token_nothing_is_read_or_written(serve):
    client = serve()
    origin = f"http://127.0.0.1:{client.server.server_port}/"
    decision = json.dumps({"item": 2, "label": "dog", "pictures": [0]}).encode()
    for wrong in ("", "wrong/", client.server.token[:-1] + "/", client.server.token.swapcase() + "/", "%00/", "ü/"):
        address = origin + quote(wrong, safe="/%")
        assert client.ask(address=address)[0] == 403
        assert client.ask("image?id=cat/1.png", address=address)[0] == 403
        assert client.ask("decide", body=decision, address=address, Content_Type="application/json")[0] == 403
    assert client.server.token not in client.ask(address=origin)[2].decode()
    assert not client.path.exists()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "0.0.0.0"])
def test_a_foreign_name_for_this_machine_is_refused(serve, host):
    client = serve()
    assert client.ask(Host=host)[0] == 403
    assert client.send("decide", {"item": 2, "label": "dog", "pictures": [0]}, Host=host)[0] == 403
    assert not client.path.exists()


def test_this_machine_is_also_called_localhost_and_a_forwarded_port_may_be_another(serve):
    assert serve().ask(Host="localhost:9999")[0] == 200


def test_another_page_of_the_browser_that_knows_the_address_still_writes_nothing(serve):
    client = serve()
    decision = {"item": 2, "label": "dog", "pictures": [0]}
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{client.server.server_port + 1}"):
        assert client.send("decide", decision, Origin=origin)[0] == 403
    # what a form can send without asking first
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert client.send("decide", decision, Content_Type=kind)[0] == 415
    assert client.ask("decide?item=2&label=dog")[0] == 404
    assert not client.path.exists()
    own = f"http://127.0.0.1:{client.server.server_port}"
    assert client.send("decide", decision, Origin=own)[0] == 200


def test_an_image_that_is_not_asked_about_and_a_path_in_place_of_an_id_are_not_found(serve, tmp_path):
    client = serve()
    (tmp_path / RAW / "secret.png").write_bytes(encoded(drawing(99)))
    outside = (tmp_path / RAW / "secret.png").as_posix()
    for image_id in (
        "no.png",
        "",
        "dog/same.png",
        "secret.png",
        "../secret.png",
        outside,
        "pets/cat/1.png",
        "cat/../cat/1.png",
    ):
        status, _, content = client.image(image_id)
        assert status == 404, image_id
        assert json.loads(content) == {"error": "no image with this id is shown here"}
    for query in ("image", "image?id=cat/1.png&id=cat/2.png", "image?path=cat/1.png", "image?id=%ff"):
        assert client.ask(query)[0] in (404, 409)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "..%2fsecret.png",
        "image/../../secret.png",
        "relabel.css",
        "//etc/passwd",
        "decide",
        "undo",
        ".",
    ],
)
def test_there_are_no_files_behind_the_address(serve, path):
    client = serve()
    connection = http.client.HTTPConnection("127.0.0.1", client.server.server_port, timeout=PATIENCE_S)
    connection.request("GET", f"/{client.server.token}/{path}")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_body_that_is_too_large_or_has_no_length_is_refused_unread(serve):
    client = serve()
    for size in (LARGEST_BODY + 1, 4 * 2**20):
        try:
            status = client.ask("decide", body=b" " * size, Content_Type="application/json")[0]
        except urllib.error.URLError:
            assert size > 2**20, "the answer was lost"
            continue
        assert status == 413
    address = urlsplit(client.server.address)
    for header in ("", "Transfer-Encoding: chunked\r\n", "Content-Length: -1\r\n", "Content-Length: 1e3\r\n"):
        with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S) as link:
            link.sendall(f"POST {address.path}undo HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode())
            assert b" 411 " in link.recv(100)
    assert client.ask("decide", body=b"[" * LARGEST_BODY, Content_Type="application/json")[0] == 400


def test_a_request_that_never_ends_keeps_nobody_else_waiting(serve):
    client = serve()
    address = urlsplit(client.server.address)
    with socket.create_connection((address.hostname, address.port)) as link:
        link.sendall(f"POST {address.path}decide HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{{".encode())
        assert client.decide(2, "dog", 0)[0] == 200


def test_it_listens_on_the_loopback_interface_alone(serve):
    assert serve().server.socket.getsockname()[0] == "127.0.0.1"


def test_the_token_differs_between_runs_and_stays_out_of_the_log(serve, caplog):
    caplog.set_level("DEBUG")
    one, other = serve(), serve()
    assert one.server.token != other.server.token
    assert len(one.server.token) >= 20
    one.ask()
    one.ask("nothing")
    assert one.server.token not in caplog.text


# pictures


def test_a_picture_that_changed_since_the_data_set_was_made_is_not_shown(serve, tmp_path):
    client = serve()
    (tmp_path / RAW / "pets/cat/1.png").write_bytes(encoded(drawing(99)))
    (tmp_path / RAW / "pets/cat/2.png").unlink()
    status, _, content = client.image("cat/1.png")
    assert (status, json.loads(content)) == (
        409,
        {"error": "cat/1.png has changed since the manifest was made; run make data again"},
    )
    status, _, content = client.image("cat/2.png")
    assert status == 409
    assert "are not in" in json.loads(content)["error"]
    assert client.image("dog/ü 1.png")[0] == 200


def test_large_photographs_are_sent_smaller_and_turned_as_their_exif_says(tmp_path):
    photo = Image.new("RGB", (3000, 1500), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    manifest = write_images(tmp_path)
    content = encoded(photo, "JPEG", exif=exif)
    (tmp_path / RAW / "pets/cat/1.png").write_bytes(content)
    manifest.table.loc[0, "sha256"] = hashlib.sha256(content).hexdigest()
    shown, kind = Pictures(manifest, ["cat/1.png"], max_pixels=10_000_000).encoded("cat/1.png")
    assert kind == "image/jpeg"
    assert Image.open(BytesIO(shown)).size == (800, 1600)


def test_an_archive_is_read_once_for_the_pictures_that_come_next_and_memory_is_bounded(tmp_path, monkeypatch):
    manifest = write_images(tmp_path)
    contents = {path: (tmp_path / RAW / path).read_bytes() for path in manifest.table["path"]}
    archive = tar_of(tmp_path / "pets.tar.gz", contents)
    manifest = replace(manifest, location=archive.as_posix())
    ids = list(manifest.table["id"])
    pictures = Pictures(manifest, ids, max_pixels=MAX_PIXELS)
    pictures.encoded(ids[0])
    archive.unlink()
    expected = [np.asarray(drawing(seed)) for seed in range(len(ids))]
    for image_id, pixels in zip(ids, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(pictures.encoded(image_id)[0]))), pixels)

    tar_of(archive, contents)
    monkeypatch.setattr(relabel_pictures, "KEPT_BYTES", 1000)
    pictures = Pictures(manifest, ids, max_pixels=MAX_PIXELS)
    for image_id, pixels in zip(ids, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(pictures.encoded(image_id)[0]))), pixels)
        assert sum(map(len, pictures._contents.values())) <= 1000


# as a command


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project with all that the verb reads, which is the working directory."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "src.visualization.relabel", *arguments]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finished(*arguments: str) -> tuple[int, str]:
    process = started(*arguments)
    return process.wait(timeout=PATIENCE_S), process.communicate()[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_the_command_prints_its_address_and_control_c_ends_it_with_a_summary(project):
    process = started("--no-browser")
    line = process.stderr.readline()
    address = re.search(r"5 to decide: (http://127\.0\.0\.1:\d+/[\w-]+/) \(Ctrl-C ends it\)", line)[1]
    body = json.dumps({"item": 2, "label": "dog", "pictures": [0]}).encode()
    request = urllib.request.Request(f"{address}decide", data=body, headers={"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert told.count("\n") == 1
    assert "1 of 5 decided; labels: 1 changed, written to data/external/labels_overrides.csv; next: make data" in told
    assert load_overrides(OVERRIDES)["cat/1.png"].label == "dog"


def test_the_command_says_how_to_mend_a_wrong_port_and_other_faults(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, told = finished("--no-browser", "--port", str(port))
    assert code == 2
    assert f"port {port} cannot be used (" in told
    assert "give another, or none for a free one" in told
    assert "Traceback" not in told


def test_where_all_is_decided_there_is_no_page(project):
    add_override(OVERRIDES, *(Override(name, "dog", "", "") for question in QUESTIONS for name in question))
    code, told = finished()
    assert code == 0
    assert "nothing is left to decide; the decisions are in data/external/labels_overrides.csv" in told


def test_where_suspects_were_not_searched_the_next_step_is_told_and_copies_are_shown(tmp_path, monkeypatch, caplog):
    manifest = write_project(tmp_path, searched=False)
    monkeypatch.chdir(tmp_path)
    assert asked(items_to_decide(manifest, OVERRIDES)) == QUESTIONS[:2]
    assert "suspects.csv does not exist, so that no suspects are known; run make label-issues; going on" in caplog.text
    duplicates().iloc[:0].to_csv(DATASET_DIR / "duplicates.csv", index=False)
    with pytest.raises(ValueError, match="run make label-issues \\(no copies of an image have different labels"):
        items_to_decide(manifest, OVERRIDES)


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        (DATASET_DIR / "duplicates.csv", None, "duplicates.csv does not exist; run make data first"),
        (
            DATASET_DIR / "duplicates.csv",
            "",
            "duplicates.csv is damaged (No columns to parse from file); run make data",
        ),
        (LABEL_ISSUES_DIR / "suspects.csv", "id,split\n", "suspects.csv has no column label, suggested, rank"),
    ],
)
def test_a_list_that_is_absent_or_damaged_is_told_with_what_writes_it(project, path, content, told):
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(told)):
        items_to_decide(write_images(project), OVERRIDES)


def test_classes_that_look_like_numbers_or_nothing_stay_names(project):
    names = ["007", "NA"]
    table = pd.DataFrame(
        {"id": ["a", "b"], "path": ["a", "b"], "label": [0, 1], "split": "train", "group": ["a", "b"], "width": 1}
    ).assign(height=1, sha256=["a", "b"], status="ok")
    manifest = replace(write_images(project), table=table, class_names=names)
    rows = [("g", "exact", "a", "train", "007", "conflict"), ("g", "exact", "b", "train", "NA", "conflict")]
    pd.DataFrame(rows, columns=duplicates().columns).to_csv(DATASET_DIR / "duplicates.csv", index=False)
    suspects().iloc[:0].to_csv(LABEL_ISSUES_DIR / "suspects.csv", index=False)
    [item] = items_to_decide(manifest, OVERRIDES)
    assert [picture.label for picture in item.pictures] == names


def test_decisions_go_into_the_file_that_the_data_set_was_made_with_or_nowhere(tmp_path):
    manifest = write_images(tmp_path)
    cfg = compose(Selection(values={"data.overrides": OVERRIDES.as_posix()}))
    assert overrides_path(cfg, manifest) == OVERRIDES
    with pytest.raises(
        ValueError, match=r"made with data\.overrides=data/external/labels_overrides\.csv, here it is o\.csv"
    ):
        overrides_path(compose(Selection(values={"data.overrides": "o.csv"})), manifest)
    with pytest.raises(ValueError, match=r"data\.overrides is null"):
        overrides_path(compose(Selection(values={"data.overrides": None})), manifest)


def test_the_one_who_decides_is_gits_user_or_else_the_account(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for scope in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(scope, os.devnull)
    assert who({"USER": "ada"}) == "ada"
    assert who({"USERNAME": "Ada L"}) == "Ada L"
    assert who({}) == ""
    settings = tmp_path / "settings"
    settings.write_text("[user]\n\tname = Ada Löwe\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert who({"USER": "ada"}) == "Ada Löwe"
    monkeypatch.setenv("PATH", "")
    assert who({"USER": "ada"}) == "ada"


def test_own_options_are_taken_and_the_rest_is_for_the_configuration(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    options, left = taken_options(["--config", "composed.yaml", "--port", "8000"], at_terminal=True)
    assert (options.port, options.browser, left) == (8000, True, ["--config", "composed.yaml"])
    assert not taken_options(["--no-browser"], at_terminal=True)[0].browser
    assert not taken_options([], at_terminal=False)[0].browser
    assert taken_options([], at_terminal=True)[0].port == 0


# in a browser


@pytest.fixture(scope="module")
def browser():
    if browser_path() is None:
        pytest.skip("no Chromium or Chrome is installed")
    with Browser() as opened:
        yield opened


class Reader:
    """Someone at the keyboard: presses a key once the picture is there."""

    def __init__(self, browser: Browser, client: Client, **window) -> None:
        self.browser = browser
        browser.messages.clear()
        browser.open(client.server.address, **window)
        self.look()

    def look(self) -> str:
        self.browser.wait_for("loading === 0 && !busy")
        return self.browser.value("document.body.innerText")

    def press(self, *keys: str) -> str:
        for key in keys:
            self.look()
            self.browser.press(key)
        return self.look()

    def click(self, selector: str) -> str:
        self.look()
        self.browser.click(selector)
        return self.look()


@pytest.mark.slow
def test_one_key_decides_and_the_next_question_comes(serve, browser):
    client = serve()
    reader = Reader(browser, client)
    assert "0 of 5" in reader.look()
    text = reader.press("2")
    assert "1 of 5" in text
    assert "dog for all" in text
    assert "cat, dog: kept" in reader.press("k")
    assert client.written() == {**dict.fromkeys(QUESTIONS[0], "dog"), **{name: name[:3] for name in QUESTIONS[1]}}
    text = reader.look()
    assert "Suspect rank 1, train split" in text
    assert "97.5 %" in text
    reader.press("Enter", "n")
    text = reader.press("d")
    assert "5 of 5" in text
    assert "All is decided" in text
    assert re.search(r"changed\s+2\s+kept\s+5\s+dropped\s+1", text)
    assert "make data\nmake train" in text
    assert client.written()["cat/1.png"] == "dog"
    assert client.written()["dog/ü 1.png"] == "dog"
    assert client.written()["cat/2.png"] == DROP
    assert browser.messages == []


@pytest.mark.slow
def test_arrows_skip_and_undo_go_where_they_say(serve, browser):
    client = serve()
    reader = Reader(browser, client)
    assert "3 / 5" in reader.press("s", "ArrowRight")
    assert "4 / 5" in reader.press("y")
    assert client.written() == {"cat/1.png": "dog"}
    text = reader.press("ArrowLeft")
    assert "Decided: dog. Another answer replaces this one." in text
    assert "4 left to decide" in reader.press("s", "s", "s")
    assert "3 / 5" in reader.press("u")
    assert client.written() == {}
    assert "There is nothing to undo" in reader.press("u")
    assert "5 left to decide" in reader.press("s", "s", "s")
    assert "1 / 5" in reader.press("Enter")
    assert "1 / 5" in reader.press("ArrowLeft")


@pytest.mark.slow
def test_the_mouse_does_all_that_keys_do_and_chooses_among_copies(serve, browser):
    client = serve()
    reader = Reader(browser, client)
    reader.click("#skip")
    assert "A class for the 2 chosen" in reader.click("figure:nth-child(1) .frame")
    reader.click("#classes button:nth-child(1)")
    assert client.written() == {"dog/near.png": "cat", "dog/near2.png": "cat"}
    reader.click("#undo")
    reader.click("#accept")
    assert client.written() == dict.fromkeys(QUESTIONS[1], "dog")
    # a button pressed with the mouse does not take the key that follows
    reader.press("Enter")
    assert client.written()["cat/1.png"] == "dog"


@pytest.mark.slow
def test_names_are_shown_as_text_and_a_fault_of_the_file_is_told_on_the_page(serve, browser):
    client = serve()
    reader = Reader(browser, client)
    assert CLASSES[2] in reader.look()
    client.path.parent.mkdir(parents=True)
    client.path.write_text("broken", encoding="utf-8")
    text = reader.press("1")
    assert "line 1: found 'broken', where the header id,label,who,why belongs" in text
    assert "1 / 5" in text
    client.path.unlink()
    assert "2 / 5" in reader.press("1")


@pytest.mark.slow
def test_a_picture_that_cannot_be_shown_is_told_in_its_place(serve, browser, tmp_path):
    client = serve()
    (tmp_path / RAW / "pets/cat/copy.png").unlink()
    reader = Reader(browser, client)
    browser.wait_for("document.querySelector('.fault') !== null")
    assert "are not in" in reader.look()
    assert "2 / 5" in reader.press("d")


@pytest.mark.slow
def test_many_classes_are_found_by_typing(serve, browser, tmp_path):
    manifest = write_images(tmp_path)
    names = [*CLASSES, *(f"class {number}" for number in range(60))]
    items = open_items(manifest, suspects(), duplicates(), {})
    client = serve(Session(items, names, path=tmp_path / OVERRIDES, who=WHO))
    reader = Reader(browser, client)
    shown = "document.querySelectorAll('#classes button').length"
    reader.press("ArrowRight", "ArrowRight", "/", *"SS 41")
    assert browser.value(shown) == 1
    reader.press("Escape")
    assert browser.value(shown) == len(names)
    reader.press("/", *"SS 41")
    reader.press("Enter")
    assert client.written() == {"cat/1.png": "class 41"}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (320, 600)])
def test_page_fits_the_window_in_light_and_dark(serve, browser, width, height, scheme):
    reader = Reader(browser, serve(), width=width, height=height, scheme=scheme)
    for _ in range(6):
        assert browser.value("document.documentElement.scrollWidth <= window.innerWidth")
        reader.press("ArrowRight")
    dark = browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 24)"
    assert dark == (scheme == "dark")
