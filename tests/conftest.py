"""Settings of all tests."""

from tasks.settings import set_environment_defaults

set_environment_defaults()  # no telemetry from test runs either
