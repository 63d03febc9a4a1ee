"""Configurations for the usual kinds of machines: examples to copy, each a `config` and a `fresh_config()`.

`local_threads` and `htex_local` can be used as they are. In the others, words like YOUR_PARTITION stand for what only
you can know; `parsl-doctor` finds those that were left. Importing one asks nothing of a scheduler, a cloud or a disk.
"""
