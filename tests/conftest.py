"""Settings of all tests."""

import os

from hypothesis import settings

from patchlight.tasks.common.settings import set_environment_defaults

set_environment_defaults()  # no telemetry from test runs either

# The same examples every time: a failure is of the change at hand. `make explore` draws new ones,
# keeps those that fail in .hypothesis, and prints what to add to a test to have them again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile(
    "explore", derandomize=False, deadline=None, max_examples=1000, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
