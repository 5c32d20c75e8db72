"""What techniques need to know about a Keras model: its kernels, its cost, the structure in its weights.

Does not know any technique.
"""
