"""Small JSON files with a checksum, replaced as a whole."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.adapters.sqlite import refused_by_system, sync_folder


def write_checked(path: Path, value: Mapping[str, object]) -> None:
    """Replaces the file, durably: after a crash it holds the old value or the new one. Raises StorageFailed."""
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("w") as file:
            json.dump({**value, "crc": _checksum(value)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise refused_by_system(path, error) from error


def read_checked(path: Path) -> tuple[dict[str, Any], bool]:
    """What stands there, nothing if that is no object, and whether its checksum is right. Raises StorageFailed where it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, False
    except OSError as error:
        raise refused_by_system(path, error) from error
    except (ValueError, RecursionError):
        return {}, False
    if not isinstance(found, dict):
        return {}, False
    checksum = found.pop("crc", None)
    return found, checksum == _checksum(found)


def _checksum(value: Mapping[str, object]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
