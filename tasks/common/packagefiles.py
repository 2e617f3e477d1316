"""Files of installed packages that are read as data: model weights, tokenizers.

They are found without running anything of the package, and checked by SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from patchlight.storage.errors import PatchlightError


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file of an installed package, known by its content.

    Attributes:
        user: what needs it, for the error message.
        error: what is raised where it is not there.
        package: top-level package that holds it, as imported.
        distribution: what to install, for the error message.
        path: below the package's folder.
        sha256: 64 hexadecimal digits.
    """

    user: str
    error: type[PatchlightError]
    package: str
    distribution: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            PatchlightError: of the class ``error``: the package is not installed, or the file
                is another one.
        """
        remedy = f"install {self.distribution}"
        spec = importlib.util.find_spec(self.package)  # finds a top-level package, runs nothing
        if spec is None or not spec.submodule_search_locations:
            raise self.error(f"{self.user} needs {self.distribution}; {remedy}")
        file = Path(spec.submodule_search_locations[0]) / self.path
        try:
            content = file.read_bytes()
        except OSError as error:
            raise self.error(f"{file} cannot be read ({error}); {remedy}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self.error(f"{file} is not the file {self.user} was made for; {remedy}")
        return content
