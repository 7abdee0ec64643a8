"""``python -m penstock`` is the command ``penstock``, and how a worker starts the processes of sinks that run in one."""

import sys

if sys.argv[1:2] == ["sink-process"]:
    # Not a verb of the command line: nobody else starts one, and its memory is counted, so it does not import what it does not need.
    from .isolation.child import main as run

    run(sys.argv[2:])
else:
    from .cli import main

    main()
