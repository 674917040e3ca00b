"""The HTTP edge: a transport-free application, and adapters from API Gateway events to it."""
