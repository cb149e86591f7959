# SPDX-License-Identifier: MIT
"""Kernel images given by their path: format, and the files near them."""

from __future__ import annotations

import re
from pathlib import Path

from kwalk.errors import UsageError
from kwalk.lab.platforms import PLATFORMS, Platform


def identify(image: Path) -> tuple[Platform, str]:
    """Return the architecture and the release of a kernel image.

    :raises UsageError: if the file is not a kernel image.
    """
    try:
        data = image.read_bytes()
    except OSError as error:
        raise UsageError(f"the kernel {image} cannot be read: {error.strerror}") from error
    for platform in PLATFORMS:
        if release := platform.image_release(data):
            return platform, release
    formats = " nor an ".join(platform.image_title for platform in PLATFORMS)
    raise UsageError(f"{image} is neither an {formats}")


def modules_near(image: Path, release: str, given: Path | None) -> Path | None:
    """Return the modules folder of an image given by its path; None if there is none near it.

    :param given: The folder to search in place of those near the image.
    :raises UsageError: if ``given`` has no modules of this release.
    """
    starts = [given] if given else [image.parent, image.parent.parent, image.parent / "modules"]
    for start in starts:
        for place in (start, start / release, start / "lib/modules" / release):
            if (place / "modules.dep").exists():
                return place.absolute()
    if given:
        raise UsageError(
            f"{given} holds no modules of kernel {release}",
            "Give the folder that holds modules.dep, or a lib/modules folder with it.",
        )
    return None


def config_near(image: Path) -> Path | None:
    """Return the build configuration of an image given by its path; None if unknown."""
    suffix = re.sub(r"^(vmlinuz|bzImage)", "", image.name)
    for place in (image.with_name(f"config{suffix}"), image.with_name(".config")):
        if place.exists():
            return place
    return None
