"""What ``patchlight doctor`` looks at: whether this machine has what patchlight needs."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass

from patchlight.tasks.common import childenvironment
from patchlight.tasks.common.errors import EncoderUnavailable, LayoutUnavailable, UsageError
from patchlight.tasks.common.modes import LayoutMode
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.documents import ocr
from patchlight.tasks.encoders import checkpoints, registry
from patchlight.tasks.encoders.families import FAMILIES
from patchlight.tasks.regions import layoutmodel

_NVIDIA_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that ``doctor`` looked at.

    Attributes:
        name: what.
        fine: whether patchlight can work with it.
        finding: what was found, and what to do where it is not fine.
    """

    name: str
    fine: bool
    finding: str


def doctor(settings: Settings) -> list[Check]:
    """Look at what patchlight needs on this machine. Starts and stops a private Ray."""
    return [
        Check("Python", True, f"{platform.python_version()} on {platform.platform()}"),
        *_tesseract(settings),
        _layout_model(settings),
        _ray(settings),
        _gpu(),
        *_encoders(),
    ]


def _tesseract(settings: Settings) -> list[Check]:
    try:
        binary = ocr.find_tesseract(settings.tesseract)
        have = ocr.languages(binary)
    except UsageError as error:
        return [Check("Tesseract", False, str(error))]
    version = ocr.version(binary)
    return [
        Check("Tesseract", True, f"{version} at {binary}"),
        Check("Tesseract languages", bool(have), ", ".join(have) or "none are installed"),
    ]


def _layout_model(settings: Settings) -> Check:
    try:
        layoutmodel.check()
    except LayoutUnavailable as error:
        return Check("Layout model", settings.layout is LayoutMode.NEVER, str(error))
    return Check("Layout model", True, layoutmodel.MODEL.distribution)


def _ray(settings: Settings) -> Check:
    from patchlight.tasks.cluster import (
        raysession,  # takes a second that other commands need not spend
    )

    version = importlib.metadata.version("ray")
    try:
        with raysession.ray_session(settings, workers=1):
            resources = raysession.resources()
    except UsageError as error:
        return Check("Ray", False, f"{version}: {error}")
    where = settings.ray_address or "private"
    return Check("Ray", True, f"{version}, {where}: {resources}")


def _gpu() -> Check:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", True, "none found; the embedded encoder needs none")
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            env=childenvironment.with_more({}),
            capture_output=True,
            text=True,
            timeout=_NVIDIA_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check("GPU", False, f"{program} fails ({error})")
    return Check("GPU", True, "; ".join(done.stdout.strip().splitlines()))


def _encoders() -> list[Check]:
    checks = []
    for name in registry.built_in():
        try:
            identity = registry.load(registry.describe(name)).info.identity
            finding = f"{identity.dim} values a vector, {identity.fingerprint}"
            checks.append(Check(f"encoder {name}", True, finding))
        except Exception as error:  # whatever it is, it is the finding
            checks.append(Check(f"encoder {name}", False, f"cannot be loaded: {error}"))
    return [*checks, _vision_encoders()]


def _vision_encoders() -> Check:
    """Whether checkpoints can be loaded; that they are not installed is no fault."""
    try:
        checkpoints.needs_engine()
    except EncoderUnavailable as error:
        return Check("vision encoders", True, f"not installed: {error}")
    version = importlib.metadata.version("colpali-engine")
    families = ", ".join(family.model for family in FAMILIES.values())
    return Check("vision encoders", True, f"colpali-engine {version}: {families}")
