"""How many calls a server carries: a load in processes of its own, a ramp, a report.

``capacity.find`` is the way in; ``load/`` is what runs in the generator's processes, ``report/``
shows what was found.
"""
