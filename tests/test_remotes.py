"""Results go to a remote and come back: a folder as configured, and a bucket on a server on loopback.

The tests of a remote share one project and stand in their order: each leaves it whole.
"""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.storage import OBJECTS, md5_of
from tests.project import ROOT, Project, copy_project

pytestmark = pytest.mark.slow

STAGES = ("fetch_data", "make_dataset", "build_features")
OUTS = ("data/raw/source", "data/interim/dataset", "data/processed/packed")
PIXELS = "data/processed/packed/train/images-000.npy"
BUCKET = "images"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A copy in which the digits are packed; what it pushes lies beside it."""
    copy = copy_project(tmp_path_factory.mktemp("remotes") / "project")
    copy.dvc("repro", "build_features")
    copy.commit("packed digits")
    return copy


def clone(project: Project, name: str) -> Project:
    """A fresh clone beside the project."""
    target = project.root.parent / name
    project.run("git", "clone", "--quiet", str(project.root), str(target))
    return Project(target)


def contents(project: Project) -> dict[str, str]:
    """Hash of every file of the outputs, by path."""
    paths = [path for out in OUTS for path in sorted((project.root / out).rglob("*")) if path.is_file()]
    return {path.relative_to(project.root).as_posix(): sha256(path) for path in paths}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def object_of(project: Project) -> str:
    """Where DVC keeps the packed pixels of train, below its cache or a remote."""
    md5 = md5_of(project.root / PIXELS)
    return f"{OBJECTS}/{md5[:2]}/{md5[2:]}"


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def check(project: Project, *arguments: str, ok: bool = True) -> str:
    return project.run(sys.executable, "-m", "src.storage", *arguments, ok=ok)


def test_a_fresh_clone_without_the_folder_says_what_is_missing(project: Project) -> None:
    fresh = clone(project, "early")
    assert "failed to pull data from the cloud" in fresh.dvc("pull", *STAGES, ok=False)
    shutil.rmtree(fresh.root)


def test_what_is_pushed_is_pulled_into_a_clone_beside_it(project: Project) -> None:
    project.dvc("push")
    assert (project.root.parent / "dvc-storage/files/md5").is_dir()
    assert "Everything is up to date" in project.dvc("push")
    fresh = clone(project, "second")
    fresh.dvc("pull", "--allow-missing")
    assert contents(fresh) == contents(project)
    assert len(contents(fresh)) > 10
    assert project.run("git", "status", "--porcelain") == ""
    said = fresh.dvc("repro", "build_features")
    assert "Running stage 'build_features'" not in said
    assert "Running stage 'make_dataset'" not in said
    assert "every file in the cache and in the remote storage has the hash" in check(fresh)


def test_a_damaged_object_of_the_remote_is_not_pulled_and_can_be_mended(project: Project) -> None:
    victim = project.root.parent / "dvc-storage" / object_of(project)
    flip_a_bit(victim)
    fresh = clone(project, "third")
    assert "Checkout failed" in fresh.dvc("pull", *STAGES, ok=False)
    assert not (fresh.root / PIXELS).exists()
    said = check(fresh, ok=False)
    assert f"DVC keeps damaged files ({victim.as_posix()}), whose content does not have the hash" in said
    assert "run: make verify ARGS=remove" in said
    assert "send them again with dvc push from a clone that has them" in check(fresh, "remove")
    project.dvc("push")
    fresh.dvc("pull", *STAGES)
    assert contents(fresh) == contents(project)
    check(fresh)


def test_a_damaged_object_of_the_cache_is_found_and_fetched_again(project: Project) -> None:
    whole = contents(project)
    flip_a_bit(project.root / ".dvc/cache" / object_of(project))
    shutil.rmtree(project.root / "data/processed/packed")
    project.dvc("checkout", *STAGES)
    assert contents(project) != whole, "DVC has learnt to look: src/storage.py may go"
    assert "run: make verify ARGS=remove" in check(project, ok=False)
    assert "fetch them with dvc pull" in check(project, "remove")
    project.dvc("pull", *STAGES)
    assert contents(project) == whole
    check(project)


def test_a_damaged_object_that_no_remote_has_is_made_again(project: Project) -> None:
    whole = contents(project)
    flip_a_bit(project.root / ".dvc/cache" / object_of(project))
    shutil.rmtree(project.root / "data/processed/packed")
    project.dvc("checkout", *STAGES)
    check(project, "remove")
    assert "Running stage 'build_features'" in project.dvc("repro", "build_features")
    assert contents(project) == whole
    check(project)
    assert "nothing to remove from the cache" in check(project, "remove")


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server on loopback."""

    endpoint: str

    def client(self):
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id="name", aws_secret_access_key="key", region_name="x"
        )

    def sizes(self) -> dict[str, int]:
        """Bytes of each object, by key."""
        return {row["Key"]: row["Size"] for row in self.client().list_objects_v2(Bucket=BUCKET)["Contents"]}


@pytest.fixture(scope="module")
def bucket():
    """A real server that speaks S3."""
    pytest.importorskip("dvc_s3", reason="the S3 road needs: pip install dvc-s3")
    server = pytest.importorskip("moto.server", reason="an S3 server on loopback needs: pip install 'moto[server]'")
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    made = Bucket(f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}")
    made.client().create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "x"})
    yield made
    running.stop()


def use_s3(project: Project, bucket: Bucket, *, key: str = "key") -> None:
    """The commands of docs/remotes.md, with the endpoint of the server here."""
    project.dvc("remote", "add", "--force", "s3", f"s3://{BUCKET}/project")
    project.dvc("remote", "modify", "s3", "endpointurl", bucket.endpoint)
    project.dvc("remote", "modify", "s3", "verify", "true")
    project.dvc("remote", "modify", "--local", "s3", "access_key_id", "name")
    project.dvc("remote", "modify", "--local", "s3", "secret_access_key", key)


def test_what_is_pushed_to_a_bucket_is_pulled_from_it(project: Project, bucket: Bucket) -> None:
    use_s3(project, bucket)
    project.dvc("push", "--remote", "s3")
    kept = bucket.sizes()
    assert all(name.startswith("project/files/md5/") for name in kept)
    assert kept[f"project/{object_of(project)}"] == (project.root / PIXELS).stat().st_size
    fresh = clone(project, "from-bucket")
    use_s3(fresh, bucket)
    fresh.dvc("pull", "--remote", "s3", *STAGES)
    assert contents(fresh) == contents(project)


def test_secrets_stay_out_of_what_git_tracks(project: Project) -> None:
    assert "secret_access_key" not in (project.root / ".dvc/config").read_text(encoding="utf-8")
    assert "secret_access_key" in (project.root / ".dvc/config.local").read_text(encoding="utf-8")
    assert "config.local" not in project.run("git", "status", "--porcelain", "--untracked-files=all")


def test_a_damaged_object_of_a_bucket_is_not_pulled_and_can_be_mended(project: Project, bucket: Bucket) -> None:
    name = f"project/{object_of(project)}"
    content = bytearray(bucket.client().get_object(Bucket=BUCKET, Key=name)["Body"].read())
    content[len(content) // 2] ^= 1
    bucket.client().put_object(Bucket=BUCKET, Key=name, Body=bytes(content))
    fresh = clone(project, "from-damaged-bucket")
    use_s3(fresh, bucket)
    said = fresh.dvc("pull", "--verbose", "--remote", "s3", *STAGES, ok=False)
    assert "Checkout failed" in said
    assert f"corrupted cache file '{fresh.root / '.dvc/cache' / object_of(project)}'" in said
    assert not (fresh.root / PIXELS).exists()
    for key in bucket.sizes():
        if key == name or key.endswith(".dir"):
            bucket.client().delete_object(Bucket=BUCKET, Key=key)
    project.dvc("push", "--remote", "s3")
    fresh.dvc("pull", "--remote", "s3", *STAGES)
    assert contents(fresh) == contents(project)


def test_a_server_that_is_gone_is_told_and_leaves_everything_as_it_was(project: Project) -> None:
    whole = contents(project)
    project.dvc("remote", "modify", "s3", "endpointurl", "http://127.0.0.1:1")
    assert "ERROR" in project.dvc("push", "--remote", "s3", ok=False)
    assert contents(project) == whole


def test_the_commands_of_the_page_are_those_tested_here() -> None:
    page = (ROOT / "docs/remotes.md").read_text(encoding="utf-8")
    for command in (
        "dvc push",
        "dvc pull --allow-missing",
        "dvc remote modify s3 verify true",
        "dvc remote modify --local s3 access_key_id",
        "dvc remote modify --local s3 secret_access_key",
        "python -m src.storage remove",
        "endpointurl",
    ):
        assert command in page
