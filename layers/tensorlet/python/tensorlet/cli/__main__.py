"""`python -m tensorlet.cli`, for where the `tensorlet` script is not on the path."""

import sys

from tensorlet.cli import main

sys.exit(main())
