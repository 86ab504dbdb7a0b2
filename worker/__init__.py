"""Runs jobs: a Celery app that takes hints, a runner that supervises one child process per job, and a reconciler.

Only `worker.child` imports torch, and only in a process of its own.
"""
