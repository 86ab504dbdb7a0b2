"""Runs jobs: a Celery app that takes hints, a runner that supervises one child process per job, and a reconciler.

Only `worker.warm` and what it imports load torch, in a process of its own with one thread, from which jobs are forked.
"""
