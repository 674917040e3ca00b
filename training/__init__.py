"""Train, evaluate, export and publish: one script for each framework, their shared parts beside them."""
