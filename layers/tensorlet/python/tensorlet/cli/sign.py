"""`tensorlet sign`: sign a version that was published without, or the aliases of a model."""

from argparse import Namespace

from tensorlet.cli.registries import writable_store
from tensorlet.registry.registry import Registry
from tensorlet.registry.rollout import describe
from tensorlet.registry.signing import open_signer
from tensorlet.registry.writer import sign_aliases, sign_version


def run(arguments: Namespace) -> int:
    signer = open_signer(arguments.key)
    store = writable_store(arguments)
    name, selector = arguments.model
    if arguments.aliases:
        for alias, weights in sign_aliases(store, name, signer).weights.items():
            print(f"{name}@{alias} → {describe(weights)}")
    else:
        release = Registry([store]).resolve(name, selector)
        sign_version(release, signer)
        print(release.name)
    return 0
