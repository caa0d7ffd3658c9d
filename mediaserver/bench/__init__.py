"""How many calls a server carries: a load generator in separate processes, a ramp, a report.

Begin with ``capacity.find``. ``load/`` runs in the generator's processes; ``report/`` shows the
result.
"""
