"""Settings of all tests."""

import os

from hypothesis import settings

from tasks.common.settings import set_environment_defaults

set_environment_defaults()  # no telemetry from test runs either

# The same examples every time: a failure is of the change at hand. `explore` draws new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
