"""The images: what they are built from, whose they run as, and how they end."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.unit.deploy.files import ROOT, unknown_settings

TEXT = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
# One instruction, one line.
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and line[0] != "#"]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, and of the one it stands on, in order."""
    found: list[tuple[str, str]] = []
    current = ""
    for line in LINES:
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            current = rest.split()[-1]
        elif current in ("base", name):
            found.append((instruction, rest))
    return found


def test_both_images_end_up_as_a_user_without_rights() -> None:
    for name in ("service", "worker"):
        (user,) = [rest for instruction, rest in stage(name) if instruction == "USER"]
        assert user == "app"
        assert any("useradd" in rest and "10001" in rest for _, rest in stage(name))


def test_both_images_have_a_check_of_their_health_and_end_on_sigterm() -> None:
    for name in ("service", "worker"):
        instructions = dict(stage(name))
        assert instructions["STOPSIGNAL"] == "SIGTERM"
        assert instructions["CMD"].startswith('["attention-please", '), "no shell keeps the signal"
        assert "CMD [" in instructions["HEALTHCHECK"]
    assert '"attention-please", "healthy"' in dict(stage("worker"))["HEALTHCHECK"]


def test_everything_is_installed_with_the_pinned_versions_and_from_nowhere_in_particular() -> None:
    installs = [rest for _, rest in stage("service") + stage("worker") if "pip install" in rest]
    assert len(installs) == 3
    assert all("pip install -c constraints.txt " in rest for rest in installs)
    assert not any(re.search(r"https?://", line) for line in LINES if "127.0.0.1" not in line)


def test_no_file_tells_when_it_was_built() -> None:
    (told,) = re.findall(r"SOURCE_DATE_EPOCH=(\d+)", TEXT)
    script = (ROOT / "deploy" / "build-images.sh").read_text(encoding="utf-8")
    assert f"--timestamp {told} " in script


def test_no_image_is_told_a_secret() -> None:
    assert not re.search(r"(KEY|SECRET|PASSWORD|TOKEN)[A-Z_]*=", TEXT)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".env", ".git", "data"} <= set(ignored)


def test_the_service_gets_no_torch_and_no_weights() -> None:
    told = " ".join(rest for _, rest in stage("service"))
    assert "torch" not in told.lower()
    assert "worker.txt" not in told
    assert "COPY models" not in " ".join(f"{i} {rest}" for i, rest in stage("service"))


def test_every_variable_is_one_that_the_processes_read() -> None:
    assert not unknown_settings(TEXT)


def test_the_script_that_builds_them_says_so_where_there_is_no_buildah(tmp_path: Path) -> None:
    for program in ("sh", "dirname"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    script = ROOT / "deploy" / "build-images.sh"
    done = subprocess.run(
        [script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "skipped: there is no buildah\n")
