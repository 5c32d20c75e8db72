"""What techniques need to know about a model: its kernels, its cost, the structure of its weights.

Does not know any technique.
"""
