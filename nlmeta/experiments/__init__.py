"""Experiments that take longer than a chapter may: the commands, and the records they wrote."""

from nlmeta.experiments import cost, digits, first_runs, human_noise

__all__ = ["cost", "digits", "first_runs", "human_noise"]
