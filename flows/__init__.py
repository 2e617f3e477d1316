"""What a person starts: a file a flow, and the command line; nothing else.

Nothing may import it. It does not know how the work is done: nothing that is defined here crosses
to a worker, which would not find it.
"""

import time

STARTED = time.perf_counter()
"""When this process began to load patchlight; what comes before is Python's own start."""
