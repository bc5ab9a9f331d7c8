"""The two ways in which data are refused: a whole source, or one record of it."""


class SourceError(ValueError):
    """A source or prepared data set that cannot be used at all; the message says what to do."""


class RecordError(Exception):
    """One record that is dropped, counted and named, while the others go on.

    Attributes:
      reason: Short name under which the report counts it, such as `path_leaves_root`.
      detail: What was found, for the person who reads the list of dropped records.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
