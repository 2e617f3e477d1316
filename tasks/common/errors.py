"""Errors of the computation layer; continues those of ``storage.errors``.

The whole tree, which a test compares with the classes::

    PatchlightError            INTERNAL               category
      StorageError             DATABASE
        DatabaseNotFound       DATABASE
        SchemaMismatch         DATABASE
        MigrationUnfinished    DATABASE
        DatabaseInUse          DATABASE
        EncoderMismatch        DATABASE
        FormMismatch           DATABASE
        StorageUnavailable     DATABASE
        LeaseLost              DATABASE
        SqlError               USAGE
      UsageError               USAGE
      EncoderUnavailable       USAGE
        DeviceLost             INTERNAL
      LayoutUnavailable        USAGE
      RayLost                  INTERNAL
      InputError               BAD_INPUT
        QueryFileError         BAD_INPUT
        MetadataFileError      BAD_INPUT
        DatasetError           BAD_INPUT
          DocumentsMissing     BAD_INPUT
        SourceError            DONE_WITH_FAILURES     internal
          MissingSource        DONE_WITH_FAILURES     missing
          UnsupportedSource    DONE_WITH_FAILURES     unsupported
          EmptyDocument        DONE_WITH_FAILURES     empty
          CorruptSource        DONE_WITH_FAILURES     corrupt
          EncryptedDocument    DONE_WITH_FAILURES     encrypted
          TooLarge             DONE_WITH_FAILURES     too_large
          OutOfMemory          DONE_WITH_FAILURES     out_of_memory
          OcrFailed            DONE_WITH_FAILURES     ocr
            OcrDied            DONE_WITH_FAILURES     ocr
          OcrTimeout           DONE_WITH_FAILURES     timeout
          PageTimeout          DONE_WITH_FAILURES     timeout
          EncodingFailed       DONE_WITH_FAILURES     encoder
          SourceChanged        DONE_WITH_FAILURES     changed
          WorkerDied           DONE_WITH_FAILURES     crashed
      PictureError             DONE_WITHOUT_PICTURES
      DocumentInWork           DATABASE
      KernelError              INTERNAL
        BoxError               INTERNAL
        ShapeError             INTERNAL
        NotFiniteError         INTERNAL
        AggregationError       USAGE
        SelectionError         USAGE

The names after them are those of ``ExitCode`` and values of ``Category``. Kernel errors are a
``ValueError``, too. Exceptions that never leave their package stand beside the tree: ``Death`` in
``tasks.sandbox``, ``Unusable`` and ``NotHad`` in ``tasks.encoders``, ``JsonProblem`` in
``storage.sqljson``; so does ``Elsewhere`` in ``tasks.common.tracebacks``, which is only ever a
cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from patchlight.storage.errors import ExitCode, PatchlightError
from patchlight.tasks.common import tracebacks


class Category(StrEnum):
    """Why a document or page could not be done."""

    MISSING = "missing"
    UNSUPPORTED = "unsupported"
    EMPTY = "empty"
    CORRUPT = "corrupt"
    ENCRYPTED = "encrypted"
    TOO_LARGE = "too_large"
    OUT_OF_MEMORY = "out_of_memory"
    OCR = "ocr"
    TIMEOUT = "timeout"
    ENCODER = "encoder"
    CHANGED = "changed"
    CRASHED = "crashed"
    INTERNAL = "internal"


class Stage(StrEnum):
    """Where in the work it happened."""

    OPEN = "open"
    WORDS = "words"
    RENDER = "render"
    ENCODE = "encode"


class UsageError(PatchlightError):
    """An option or argument is wrong."""

    exit_code = ExitCode.USAGE


class EncoderUnavailable(PatchlightError):
    """The encoder asked for is unknown, or cannot be loaded here."""

    exit_code = ExitCode.USAGE


class LayoutUnavailable(PatchlightError):
    """The layout model cannot be had here."""

    exit_code = ExitCode.USAGE


class RayLost(PatchlightError):
    """Ray ended while work was running on it."""


class DeviceLost(EncoderUnavailable):
    """The encoder of this process works no more; that of a new process may.

    After some errors, as an access to memory that is not its own, a GPU computes nothing more for
    the process. The only way out is another process, in which the work is done again.
    """

    exit_code = ExitCode.INTERNAL


class InputError(PatchlightError):
    """What was given to work on is unusable as a whole."""

    exit_code = ExitCode.BAD_INPUT


class QueryFileError(InputError):
    """The query file cannot be read, or no row of it can be used."""


class MetadataFileError(InputError):
    """The file of what is known of documents cannot be read, or does not fit the database."""


class DatasetError(InputError):
    """A data set to evaluate on cannot be read, or does not fit the database."""


class DocumentsMissing(DatasetError):
    """Documents that a data set asks about are not in the database."""


class SourceError(InputError):
    """A source, or one page of it, could not be done; becomes a row in ``failures``.

    Attributes:
        stage: where it happened.
        category: why, for people and for SQL.
        retryable: whether trying again without a change, in a later run too, may help.
    """

    exit_code = ExitCode.DONE_WITH_FAILURES
    category: Category = Category.INTERNAL

    def __init__(self, message: str, stage: Stage = Stage.OPEN) -> None:
        super().__init__(message)
        self.stage = stage

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, Stage]]:
        return type(self), (str(self), self.stage)


class MissingSource(SourceError):
    """There is no such file, or it may not be read."""

    category = Category.MISSING
    retryable = True


class UnsupportedSource(SourceError):
    """The bytes are of a type patchlight does not read."""

    category = Category.UNSUPPORTED


class EmptyDocument(SourceError):
    """The file holds no page."""

    category = Category.EMPTY


class CorruptSource(SourceError):
    """The bytes are damaged, or not what the name says."""

    category = Category.CORRUPT


class EncryptedDocument(SourceError):
    """The PDF needs a password that was not given, or the one given is wrong."""

    category = Category.ENCRYPTED


class TooLarge(SourceError):
    """The page or file is beyond a limit."""

    category = Category.TOO_LARGE


class OutOfMemory(SourceError):
    """Memory ran out on the page or file; there may be more another time."""

    category = Category.OUT_OF_MEMORY
    retryable = True


class OcrFailed(SourceError):
    """Tesseract failed on a page."""

    category = Category.OCR
    retryable = True


class OcrDied(OcrFailed):
    """Tesseract was ended by a signal: it crashed, or the system ended it."""


class OcrTimeout(SourceError):
    """Tesseract took longer than the limit and was killed."""

    category = Category.TIMEOUT
    retryable = True


class PageTimeout(SourceError):
    """Opening the file, or reading or drawing the page, took longer than the limit."""

    category = Category.TIMEOUT
    retryable = True


class EncodingFailed(SourceError):
    """The encoder failed on a page."""

    category = Category.ENCODER
    retryable = True


class SourceChanged(SourceError):
    """The file was written to while it was being ingested."""

    category = Category.CHANGED
    retryable = True


class WorkerDied(SourceError):
    """The process that worked on the page died."""

    category = Category.CRASHED
    retryable = True


class PictureError(PatchlightError):
    """An overlay could not be drawn: the source is gone, changed, or cannot be opened."""

    exit_code = ExitCode.DONE_WITHOUT_PICTURES


class DocumentInWork(PatchlightError):
    """A document cannot be removed now: another run works on it."""

    exit_code = ExitCode.DATABASE


class KernelError(PatchlightError, ValueError):
    """A kernel was handed something it has no right answer for."""


class BoxError(KernelError):
    """A box is not finite, inverted, empty, or off the page."""


class ShapeError(KernelError):
    """Arrays do not fit together: wrong dimensions, offsets, lengths or sizes."""


class NotFiniteError(KernelError):
    """A score or weight is NaN or infinite where only a number makes sense."""


class AggregationError(KernelError):
    """There is no aggregation of that name."""

    exit_code = ExitCode.USAGE


class SelectionError(KernelError):
    """A selection rule is unknown, or its value is out of range."""

    exit_code = ExitCode.USAGE


def unknown_aggregation(choices: type[Enum], value: object) -> AggregationError:
    """Error for a value that is not one of `choices`; its message lists them."""
    listed = ", ".join(str(choice.value) for choice in choices)
    return AggregationError(f"unknown aggregation {str(value)!r}; choose one of {listed}")


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as data: what a failure row is made from.

    Attributes:
        stage: where it happened.
        category: why.
        retryable: whether trying again without a change may help.
        message: what happened and what to do.
        traceback: where it comes from, if that is not known by its type; no text of documents
            (``tracebacks.short``).
    """

    stage: Stage
    category: Category
    retryable: bool
    message: str
    traceback: str = ""


def fault_of(error: BaseException, stage: Stage) -> Fault:
    """Describe an error as a row of ``failures``.

    Args:
        error: what was caught.
        stage: where, for errors that do not say so themselves.
    """
    if isinstance(error, SourceError):
        strange = error.category is Category.INTERNAL or (
            isinstance(error, EncodingFailed)
            and error.__cause__ is not None
            and not isinstance(error.__cause__, SourceError)
        )
        trace = tracebacks.short(error) if strange else ""
        return Fault(error.stage, error.category, error.retryable, str(error), trace)
    detail = tracebacks.summary(error)
    if isinstance(error, MemoryError):
        return Fault(
            stage,
            OutOfMemory.category,
            OutOfMemory.retryable,
            f"out of memory ({detail}); use fewer workers or a machine with more memory",
        )
    return Fault(stage, Category.INTERNAL, True, detail, tracebacks.short(error))
