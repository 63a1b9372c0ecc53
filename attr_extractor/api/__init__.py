"""The functions of `import attr_extractor as ax`, for scripts and notebooks.

None changes the calling process: no Keras policy, random generator, logger, warning filter or
setting of Pillow. What cannot be undone in a process runs in a child process; see child.py.
"""
