"""`tensorlet proxy`: the command in front of `tensorlet.local.proxy`."""

from argparse import Namespace

from tensorlet.local.proxy import serve


def run(arguments: Namespace) -> int:
    return serve(arguments.url, arguments.host, arguments.port, arguments.region)
