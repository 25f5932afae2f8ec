"""Other people's programs on the same split: what each needs, and how each is started.

`job` says what a program is given and what it gives back; `rectools`, `recbole`, `cornac` and `ours` are the programs,
each run by the Python of an environment of its own; `compare` starts them, one after the other.
"""
