"""Tests of the local stack's own parts: .local/venv/bin/python -m unittest discover -s infra/local/tests -t infra/local"""
