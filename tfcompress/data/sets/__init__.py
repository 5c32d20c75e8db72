"""Data sets: one public module a data set or form, found by name.

A module has one function

    published(config: DataConfig, argument: str) -> Published

where `argument` is what follows the colon of a name such as `folder:DIR`, "" without one. A form
that needs an argument says so in `ARGUMENT`, its placeholder in messages.
"""
