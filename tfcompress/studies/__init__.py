"""Studies: what is measured on finished runs and networks to know how well the package does.

Each holds this package's ways beside others, under one roof: the same data, settings and machine.
Knows what belongs side by side. A user's own run needs none of it.
"""
