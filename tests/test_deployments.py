"""Guards prefect.yaml: every deployment's flow loads, and takes the parameters it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

ROOT = Path(__file__).parent.parent
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())[
    "deployments"
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_entrypoint_loads_and_takes_its_parameters(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # as a worker does before it loads the entrypoint
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
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
