"""Batch: a file of rows in, a file of predictions out, whatever is repeated, reordered or cut off in the middle.

`events` says which keys a message is about, `job` brings the outputs of a key up to its input, `run` is one pass
over one file, and `formats` are the files. `run_file` is the same for one file, without a queue.
"""

import os

# Before NumPy is imported anywhere below: OpenBLAS would start a thread for each core, for nothing.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tensorlet.batch.events import keys_of
from tensorlet.batch.files import run_file
from tensorlet.batch.job import Job
from tensorlet.batch.report import Report
from tensorlet.batch.run import Progress
from tensorlet.batch.worker import Worker

__all__ = ["Job", "Progress", "Report", "Worker", "keys_of", "run_file"]
