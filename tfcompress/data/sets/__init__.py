"""Data sets: one public module a data set or form, found by name.

A module has one function

    published(config: DataConfig, argument: str) -> Published

where `argument` is what follows the colon of a name such as `folder:DIR`, "" without one. A form
that needs an argument says so in `ARGUMENT`, its placeholder in messages. A data set that is not a
classification, or not always, lists what it may be in `TASKS`. One of texts says so with
`IS_TEXT = True`, and its function returns `PublishedTexts`.
"""
