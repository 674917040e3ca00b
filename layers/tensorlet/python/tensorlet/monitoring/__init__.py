"""What a deployed model did: captured requests, drift, the guard of a release, and the challenger in the shadow.

All of it reads one thing, the observations that `recorder` writes to storage while a function answers. Nothing here
is imported by a process that captures nothing.
"""
