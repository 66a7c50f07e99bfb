"""Who owns the local Postgres: it refuses to run as root, so root lends it an account.

For an ordinary user the owner is that user and nothing here changes anything.
"""

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mediastore.errors import BadSettings

ACCOUNT = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Owner:
    """The account that Postgres runs under; `switches` if that is not the one we run under."""

    uid: int
    gid: int
    switches: bool

    @property
    def run_user(self) -> int | None:
        """subprocess's `user` for a program that runs as this owner."""
        return self.uid if self.switches else None

    @property
    def run_group(self) -> int | None:
        """subprocess's `group`."""
        return self.gid if self.switches else None

    @property
    def run_extra_groups(self) -> list[int] | None:
        """subprocess's `extra_groups`: none of root's."""
        return [] if self.switches else None

    def give(self, path: Path) -> None:
        """Make this account the owner of `path`."""
        if self.switches:
            os.chown(path, self.uid, self.gid)

    def open_way_to(self, path: Path) -> list[Path]:
        """Let this account reach `path`: search permission, not reading, on the folders above it.

        Returns the folders that were changed, for the developer to see.
        """
        if not self.switches:
            return []
        changed = []
        for folder in path.resolve().parents:
            status = folder.stat()
            if not self._may_search(status):
                folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
                changed.append(folder)
        return changed

    def _may_search(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def find_owner() -> Owner:
    """The current user; for root, the account above, made on first use. Raises BadSettings."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid(), switches=False)
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        entry = _make_account()
    return Owner(entry.pw_uid, entry.pw_gid, switches=True)


def _make_account() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise BadSettings(
            "Postgres does not run as root and there is no 'useradd' to make an account for it; "
            "run as another user"
        ) from None
    except subprocess.CalledProcessError as error:
        try:  # another start may have made it meanwhile
            return pwd.getpwnam(ACCOUNT)
        except KeyError:
            raise BadSettings(f"useradd {ACCOUNT}: {error.stderr.strip()}") from None
    return pwd.getpwnam(ACCOUNT)
