"""The one form of model that techniques know, and what they need to know about it.

`normal_form` brings a Keras 2 model there; kernels, cost and the structure of the weights are read
from it. Does not know any technique.
"""
