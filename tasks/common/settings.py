"""Settings: one class, one environment prefix (``PATCHLIGHT_``)."""

from __future__ import annotations

import os
import stat
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from patchlight.storage.objectstore import STORAGE_OPTIONS, storage_options_of
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.modes import LayoutMode

DEFAULT_ENCODER = "text-patch"


def _cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LogLevel(StrEnum):
    """Levels of our own log."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Settings(BaseSettings):
    """What an operator may change without changing a command line.

    Every field is read from ``PATCHLIGHT_<FIELD>``; command-line options win over it.
    """

    model_config = SettingsConfigDict(env_prefix="PATCHLIGHT_", frozen=True, extra="ignore")

    db: str | None = Field(default=None, description="database URI used when --db is not given")
    storage_options: Annotated[dict[str, str], NoDecode, BeforeValidator(storage_options_of)] = (
        Field(
            default={},
            repr=False,
            description="options of the object store of a database, a JSON object that LanceDB is "
            "given; read where tables are opened, and only checked here",
        )
    )
    encoder: str = Field(default=DEFAULT_ENCODER, description="encoder of a new database")
    workers: int = Field(
        default_factory=_cpus,
        ge=1,
        description="processes that read and encode pages; default: the CPUs this process may use",
    )
    ray_address: str | None = Field(
        default=None, description="Ray cluster to use, e.g. auto; default: a private local one"
    )
    ray_object_store_mb: int | None = Field(
        default=None,
        ge=80,
        description="MiB of shared memory of the private local Ray; default: 256, and for encoders "
        "that see pictures what Ray chooses, about 30 % of the memory",
    )
    gpus: int | None = Field(
        default=None,
        ge=0,
        description="GPUs for encoders that want one; default: all of Ray's cluster",
    )
    gpu_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="part of a GPU that an encoder process reserves; 0.5 puts two on each",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="tokens of a batch in the vision model; default: found from the memory free",
    )
    tesseract: str | None = Field(
        default=None, description="Tesseract binary; default: the one on PATH, else the bundled one"
    )
    layout: LayoutMode = Field(
        default=LayoutMode.AUTO,
        description="whether the layout model looks at pages when --layout is not given",
    )
    ocr_timeout_s: int = Field(default=120, ge=1, description="seconds a page may be in Tesseract")
    sandbox: bool = Field(
        default=True,
        description="read documents in a process that can be killed; off only to measure what "
        "that costs",
    )
    page_timeout_s: int = Field(
        default=60,
        ge=1,
        description="seconds that opening a file, or a page without its OCR, may take",
    )
    page_memory_mb: int = Field(
        default=1024,
        ge=256,
        description="MiB of memory that opening a file, or a page with its OCR, may take",
    )
    max_file_mb: int = Field(default=2048, ge=1, description="MiB of a file that is read")
    max_pages: int = Field(default=10_000, ge=1, description="pages of a document that is read")
    max_pixels: int = Field(
        default=100_000_000,
        ge=1_000_000,
        description="pixels of an image that is read, and of a page as it is drawn",
    )
    max_expansion: int = Field(
        default=2000,
        ge=1,
        description="how many times larger a picture may be than its compressed bytes; those that "
        "unfold to less than 64 MiB are not asked",
    )
    shard_pages: int = Field(
        default=16,
        ge=1,
        description="pages of a unit of ingest work: one Prefect task, one Ray task",
    )
    shards_a_worker: int = Field(
        default=2, ge=1, description="shards in flight a worker; more hide waiting and cost memory"
    )
    score_pages: int = Field(
        default=256,
        ge=1,
        description="pages of a unit of query work: one Prefect task, one Ray task",
    )
    query_block: int = Field(
        default=1024, ge=1, description="queries answered together; bounds memory of a batch"
    )
    keep_read_h: int = Field(
        default=24,
        ge=0,
        description="hours that what a query run has read stays after its end, so that it can be "
        "asked again with --as-of; until then it takes its place on the disk",
    )
    sql_memory_mb: int = Field(
        default=2048,
        ge=256,
        description="MiB of memory that a statement of 'patchlight sql' may take",
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="how often a page or file that may go well another time is tried, by as many "
        "runs; 'patchlight retry' tries it again",
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="level of the log on stderr")


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        UsageError: a variable has a value that cannot be; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        # Without the cause, which would show the values of secrets.
        raise UsageError("; ".join(_told(problem) for problem in error.errors())) from None


def _told(problem: ErrorDetails) -> str:
    """Say which variable is wrong, and its value where that is no secret."""
    variable = f"PATCHLIGHT_{'_'.join(map(str, problem['loc'])).upper()}"
    value = "" if variable == STORAGE_OPTIONS else f"={problem['input']}"
    return f"{variable}{value}: {message_of(problem)}"


def message_of(problem: ErrorDetails) -> str:
    """Return what is wrong with a value: of our own checks what they say, and no word before."""
    own = problem.get("ctx", {}).get("error")
    return str(own) if isinstance(own, ValueError) else problem["msg"]


def set_environment_defaults() -> None:
    """Set what Prefect and Ray read from the environment, where the user has not.

    Telemetry is off, that of ONNX Runtime too. Must run before any of them is imported: Prefect's
    server and Ray's workers get the environment of the moment in which they start.
    """
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        # Without a server of the user's own, Prefect starts a private one for the run; its
        # first start migrates a database and can take long on a busy machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    }.items():
        os.environ.setdefault(name, value)
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home fails where there is none
    # As in many containers: Prefect keeps its record elsewhere.
    if "PREFECT_HOME" not in os.environ and not os.access(home, os.W_OK):
        os.environ["PREFECT_HOME"] = str(_folder_for_prefect())


def _folder_for_prefect() -> Path:
    """Make a folder that is this user's alone among the temporary files, the same each time.

    Its name can be guessed: where something of somebody else has it, or a link, a new folder with
    another name is made instead.

    Raises:
        OSError: none can be made.
    """
    folder = Path(tempfile.gettempdir()) / f"patchlight-prefect-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        there = folder.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid():
            return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
        folder.chmod(0o700)  # what is made by Prefect is open to everybody
    return folder
