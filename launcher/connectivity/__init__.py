"""Whether the hosts of a plan reach each other on the ports that TensorFlow will use.

`matrix` has listeners put on every planned port and dialled from every other host; `passes`
remembers which hosts have passed.
"""
