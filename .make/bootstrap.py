"""Make or bring up to date `.venv` from `requirements.lock`: `bootstrap.py base|full`.

Runs on a bare Python with the standard library only. Every package comes from the lock, checked
against its hashes; where pip fetches from is left to the machine's own pip settings.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
ASIDE = ROOT / ".bootstrap"
STAMPS = {"base": VENV / ".installed-base", "full": VENV / ".installed-full"}
# What installs the project itself: pip, and the build backend with its plugin.
BUILD = {"pip", "hatchling", "editables"}
# A variable that points Python or pip at another place would make it install elsewhere, or take
# packages from there for installed ones.
ENV = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET"}}
ENV |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
# Only wheels: building a source archive would fetch a build backend that no hash covers.
# The lock holds all that is needed, and leaves out what a package asks for and we never import.
PIP_INSTALL = ["-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
if not sys.stdout.isatty():  # in a log, only what goes wrong
    PIP_INSTALL.append("--quiet")


def run(*command: str | Path, quiet: bool = False) -> bool:
    """Run a command in the project's folder; tell whether it succeeded."""
    out = subprocess.DEVNULL if quiet else None
    try:
        done = subprocess.run([str(c) for c in command], cwd=ROOT, env=ENV, stdout=out, stderr=out)
    except OSError:  # absent, or a link to a Python that is gone
        return False
    return done.returncode == 0


def normal(name: str) -> str:
    """Give a requirement's package name in its normal form."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0]).lower()


def subset(roots: set[str]) -> str:
    """Give the part of the lock that `roots` need.

    Follows the `# via` notes of the lock: a package is needed if one that asked for it is.
    """
    blocks: list[tuple[str, set[str], str]] = []
    for text in re.split(r"^(?=\w)", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        notes = re.findall(r"^ +# +(?:via)?(.*)$", text, flags=re.MULTILINE)
        blocks.append((normal(text), {normal(note) for note in notes if note}, text))
    if missing := roots - {name for name, _, _ in blocks}:
        sys.exit(f"requirements.lock lacks {', '.join(sorted(missing))}: run `make lock`")
    needed = set(roots)
    while more := {name for name, via, _ in blocks if via & needed} - needed:
        needed |= more
    return "".join(text for name, _, text in blocks if name in needed)


def has_pip(python: Path | str) -> bool:
    """Tell whether a Python starts, is recent enough and has pip."""
    code = "import sys, pip._internal; sys.exit(sys.version_info < (3, 11))"
    return run(python, "-c", code, quiet=True)


def try_venv() -> bool:
    """Make the environment with the standard module, which Debian ships in parts."""
    # Quiet: where a part is missing it asks to install it, and we may do without.
    return run(sys.executable, "-m", "venv", "--clear", VENV, quiet=True) and has_pip(PYTHON)


def try_virtualenv() -> bool:
    """Make the environment with virtualenv, put aside by the system's own pip."""
    if not has_pip(sys.executable):
        return False
    say("the venv module does not work here: using virtualenv")
    shutil.rmtree(ASIDE, ignore_errors=True)
    ASIDE.mkdir()
    wanted = ASIDE / "requirements.txt"
    wanted.write_text(subset({"virtualenv"}), encoding="utf-8")
    # --target leaves the system's Python alone, so its "externally managed" mark does not apply.
    if not run(sys.executable, *PIP_INSTALL, "--target", ASIDE / "lib", "-r", wanted):
        return False
    here = f"import sys; sys.path.insert(0, {str(ASIDE / 'lib')!r}); import virtualenv; "
    code = here + "virtualenv.cli_run(sys.argv[1:])"
    return run(sys.executable, "-c", code, "--clear", "--no-download", VENV) and has_pip(PYTHON)


def apt_command() -> list[str]:
    """Give the start of an apt-get command that works here without a password, or nothing."""
    # Only the distribution's own Python gains from its packages.
    if not (shutil.which("apt-get") and sys.base_prefix == "/usr"):
        return []
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    if run("sudo", "-n", "true", quiet=True):
        return ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    return []


def try_apt(package: str) -> bool:
    """Install the missing module from the distribution, then make the environment."""
    if not (apt := apt_command()):
        return False
    say(f"the venv module does not work here: installing {package}")
    install = [*apt, "install", "-y", package]
    return (run(*install) or (run(*apt, "update") and run(*install))) and try_venv()


def make_venv() -> None:
    """Make `.venv`, by the first way that works on this machine, unless there is a good one."""
    moved = STAMPS["base"].exists() and STAMPS["base"].read_text("utf-8") != str(ROOT)
    if has_pip(PYTHON) and not moved:
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    say(f"making .venv with Python {sys.version.split()[0]}")
    made = try_venv() or try_virtualenv() or try_apt(package)
    shutil.rmtree(ASIDE, ignore_errors=True)
    if not made:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(
            f"error: {sys.executable} can make no environment: neither its venv module nor pip "
            f"works.\nInstall one of them (Debian, Ubuntu: apt-get install {package}), or choose "
            "another Python: make PYTHON=..."
        )


def drop_broken() -> None:
    """Forget packages whose installation was cut short, which pip would take for complete."""
    # pip writes RECORD last.
    for info in VENV.glob("lib/python3*/site-packages/*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)


def install(extent: str) -> None:
    """Install the locked packages and the project itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    roots = BUILD | {normal(requirement) for requirement in project["dependencies"]}
    wanted = VENV / "requirements.txt"
    # pip first and by itself: an old one may not replace itself half-way through its work.
    for text in (subset({"pip"}), LOCK.read_text("utf-8") if extent == "full" else subset(roots)):
        wanted.write_text(text, encoding="utf-8")
        if not run(PYTHON, *PIP_INSTALL, "-r", wanted):
            sys.exit("error: the packages were not installed; see above, then run make again")
    editable = ["install", "--no-deps", "--no-build-isolation", "--quiet", "--editable", "."]
    if not run(PYTHON, "-m", "pip", *editable):
        sys.exit("error: the project itself was not installed")


def say(line: str) -> None:
    """Print a line at once, in order with the output of the commands."""
    print(f"patchlight: {line}", flush=True)


def main(extent: str) -> None:
    """Do what the command line asks, one run at a time."""
    handle = os.open(Path(__file__).parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # two targets of `make -j`
    started = time.time()
    if STAMPS["full"].exists():  # what is fully installed is brought up to date as a whole
        extent = "full"
    make_venv()
    for stamp in STAMPS.values():
        if stamp.exists():
            os.utime(stamp, (0, 0))  # out of date until this run has ended well
    drop_broken()
    say(f"installing the {extent} set of packages into .venv")
    install(extent)
    for stamp in STAMPS.values() if extent == "full" else [STAMPS["base"]]:
        stamp.write_text(str(ROOT), encoding="utf-8")
        os.utime(stamp, (started, started))  # an edit made meanwhile counts as newer
    say(f"the {extent} set is installed ({time.time() - started:.0f} s)")


if __name__ == "__main__":
    if sys.argv[1:] not in (["base"], ["full"]):
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
