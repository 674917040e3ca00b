"""Tensorlet: a trained deep-learning model as a verified endpoint on AWS Lambda."""

__version__ = "0.1.0"
