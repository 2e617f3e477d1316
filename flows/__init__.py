"""What a person starts: a file a flow, and the command line; nothing else.

Nothing may import it. It does not know how the work is done: nothing that is defined here crosses
to a worker, which would not find it.
"""

import time

STARTED = time.perf_counter()
"""When this process began to load patchlight; what comes before is Python's own start."""

from patchlight.tasks.common.settings import set_environment_defaults  # noqa: E402 - is timed too

# The one exception to "no work at import". Prefect starts its server before the body of a flow
# runs, and the server has the environment of that moment: a flow that is called from Python has no
# other place where its telemetry can be turned off in time.
set_environment_defaults()
