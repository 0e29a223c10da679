"""What goes into a container before it starts, and what comes home when it has ended.

In: the code (code.py), secrets (secrets.py), the data (data.py), a place to write (owner.py).
Out: results (results.py). Everything travels as tar archives through an Engine.
"""
