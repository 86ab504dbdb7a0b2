"""The room that is made for the processes of a slot: what is in it, and what is left where it cannot be made."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from store.settings import Settings
from worker.sandbox import namespaces, user
from worker.sandbox.room import furnish
from worker.warmth import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform != "linux":
    pytest.skip("namespaces are Linux's", allow_module_level=True)

SETTINGS = Settings(database_url="postgresql://", redis_url="redis://")

ON_AN_OLD_KERNEL = """
import sys
from pathlib import Path
from worker.sandbox import Room, namespaces
from worker.scratch import remove
namespaces._MOUNT_SETATTR = 10_000  # a call that there is not, as before Linux 5.12
room = Room.model_validate_json(sys.argv[1])
try:
    namespaces.enter(room)
except OSError as error:
    print(error)
remove(room.home)
"""


def run(*command: str) -> str:
    environment = {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_a_room_that_cannot_be_made_takes_nothing_with_it_when_it_is_removed(tmp_path: Path) -> None:
    home, code = tmp_path / "home", tmp_path / "code"
    home.mkdir()
    code.mkdir()
    (code / "file").write_text("x")
    room = furnish(home, SETTINGS, slot=0).model_copy(update={"readable": [code]})
    assert run(sys.executable, "-c", ON_AN_OLD_KERNEL, room.model_dump_json())
    assert (code / "file").read_text() == "x"
    assert not home.exists()


def test_in_bubblewraps_room_nothing_but_the_slots_directory_can_be_written(tmp_path: Path) -> None:
    room = furnish(tmp_path, SETTINGS, slot=0)
    wrapping = namespaces.bubblewrap(room)
    if wrapping is None:
        pytest.skip("bubblewrap is not installed, or may not")
    code = f"""
import os
for directory in {{"/", "/dev", "/dev/shm", "/usr", {str(CHECKOUT)!r}, {str(tmp_path.parent)!r}, {str(tmp_path)!r}}}:
    try:
        os.close(os.open(directory + "/octet-mine", os.O_CREAT))
    except OSError:
        continue
    print(directory)
"""
    assert run(*wrapping, sys.executable, "-ISc", code).split() == [str(tmp_path)]


@pytest.mark.parametrize("lacking", ["kill", "chown", "setuid", "dac_override"])
def test_root_who_lacks_a_capability_stays_root_and_says_so(tmp_path: Path, lacking: str) -> None:
    room = furnish(tmp_path, SETTINGS, slot=0)
    if room.uid is None:
        pytest.skip("only root can play root")
    code = "import sys; from worker.sandbox import Room, user; "
    code += "print(user.settled(Room.model_validate_json(sys.argv[1])).stays)"
    command = ["setpriv", f"--bounding-set=-{lacking}", sys.executable, "-c", code, room.model_dump_json()]
    assert f"lacks {lacking}" in run(*command)


def test_only_the_slots_user_passes_through_its_directory(tmp_path: Path) -> None:
    room = furnish(tmp_path, SETTINGS, slot=0).model_copy(update={"readable": []})
    if room.uid is None:
        pytest.skip("only root has other users")
    tmp_path.chmod(0o700)
    user.settled(room)
    assert not tmp_path.stat().st_mode & 0o007
    assert tmp_path.stat().st_gid == room.uid
