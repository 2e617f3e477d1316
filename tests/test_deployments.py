"""Guards prefect.yaml (every flow loads and takes its parameters) and the lock file."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prefect.flows import Flow, load_flow_from_entrypoint

ROOT = Path(__file__).parent.parent
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())[
    "deployments"
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_entrypoint_loads_and_takes_its_parameters(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # as a worker does before it loads the entrypoint
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
    flow.validate_parameters(deployment["parameters"])


def test_there_is_a_nightly_ingest_and_an_hourly_query() -> None:
    schedules = {d["name"]: d["schedules"][0]["cron"].split() for d in DEPLOYMENTS}
    assert schedules["nightly"][:2] == ["0", "2"]
    assert schedules["hourly"][1:] == ["*"] * 4


def test_telemetry_is_off() -> None:
    for deployment in DEPLOYMENTS:
        environment = deployment["work_pool"]["job_variables"]["env"]
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_lock_holds_every_dependency_and_names_no_host() -> None:
    """A dependency added to pyproject.toml without `make lock` would not be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    for text in wanted:
        requirement = Requirement(text)
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text}, but {version} is locked"
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock
